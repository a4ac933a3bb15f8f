//! Tests of the log as a whole. Goal: what was acknowledged at a level is there after the fault that the level covers,
//! once, in order, byte for byte; nothing is served that was never appended. Method: the same steps on both grounds;
//! on io/sim with a crash at every effect, also inside recovery.

#[path = "../../../tests/campaign/mod.rs"]
mod campaign;
mod crash;
mod damage;
mod decay;
mod fail;
mod full;
mod model;
mod repair;
mod rotate;
mod scrub;
mod steps;
mod times;
mod trim;
mod verify;

/// Runs `main` on one core of the real machine, in a directory of its own.
fn on_uring<F, Fut>(main: F)
where
    F: Fn(crate::io::uring::Uring, std::path::PathBuf) -> Fut + Send + Clone + 'static,
    Fut: Future<Output = ()>,
{
    let dir = std::env::temp_dir().join(format!(
        "millrace-log-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&dir).expect("temporary directory");
    let data = dir.clone();
    let options = crate::io::uring::Options {
        cpus: vec![None],
        ..Default::default()
    };
    let done =
        crate::io::uring::run_cores::<(), _, _, _>(options, move |io, _| main(io, data.clone()));
    std::fs::remove_dir_all(&dir).expect("removes");
    done.expect("runs");
}

#[test]
fn life_on_uring() {
    on_uring(|io, data| async move { model::life(io, &data, 60).await });
}

#[test]
fn edges_on_uring() {
    on_uring(|io, data| async move { model::edges(io.clone(), &data).await });
}

#[test]
fn trim_on_uring() {
    on_uring(|io, data| async move { trim::life(io, &data).await });
}

#[test]
fn stop_on_uring() {
    on_uring(|io, data| async move { model::no_appends_after_stop(io, &data).await });
}

#[test]
fn life_on_sim() {
    for seed in 0..4 {
        let sim = crate::io::sim::Sim::new(seed);
        sim.run(|io| async move { model::life(io, std::path::Path::new("/data"), 40).await })
            .done();
    }
}

#[test]
fn edges_on_sim() {
    let sim = crate::io::sim::Sim::new(5);
    sim.run(|io| async move { model::edges(io, std::path::Path::new("/data")).await })
        .done();
}
