// Tooltips and toggles over what is drawn already. Values are read back from the curves through the axes' own scales.
(function () {
  "use strict";
  var back = {
    linear: function (p, from, to) { return from + p * (to - from); },
    log: function (p, from, to) { return from * Math.pow(to / from, p); },
    nines: function (p, from, to) { return from + p * (to - from); }
  };
  function digits(value) {
    var steps = [[1e9, " G"], [1e6, " M"], [1e4, " k"]];
    for (var i = 0; i < steps.length; i++) {
      if (Math.abs(value) >= steps[i][0]) {
        var scale = steps[i][0] === 1e4 ? 1e3 : steps[i][0];
        return Number((value / scale).toPrecision(3)) + steps[i][1];
      }
    }
    return String(Number(value.toPrecision(3)));
  }
  var words = {
    ms: function (v) {
      if (v >= 1000) return digits(v / 1000) + " s";
      if (v >= 1) return digits(v) + " ms";
      return v >= 0.001 ? digits(v * 1000) + " µs" : digits(v * 1e6) + " ns";
    },
    percent: function (v) {
      var decimals = Math.max(0, Math.min(6, Math.ceil(v) - 1));
      return "p" + (100 - Math.pow(10, 2 - v)).toFixed(decimals);
    },
    s: function (v) { return "at " + v.toFixed(2) + " s"; }
  };
  function word(value, unit) {
    return words[unit] ? words[unit](value) : digits(value) + " " + unit;
  }
  function axis(text) {
    var parts = text.split(" ");
    return function (place) { return back[parts[0]](place, Number(parts[1]), Number(parts[2])); };
  }
  function vertices(path) {
    return path.getAttribute("d").split(/[ML]/).slice(1).map(function (pair) {
      return pair.split(" ").map(Number);
    });
  }
  function nearest(points, x) {
    var best = points[0];
    points.forEach(function (point) {
      if (Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
    });
    return best;
  }
  function make(name, attributes) {
    var made = document.createElementNS(document.querySelector("svg").namespaceURI, name);
    Object.keys(attributes).forEach(function (key) { made.setAttribute(key, attributes[key]); });
    return made;
  }

  document.querySelectorAll("figure.chart").forEach(function (figure) {
    var svg = figure.querySelector("svg[data-plot]");
    var curves = Array.prototype.slice.call(svg.querySelectorAll("path.curve"));
    var plot = svg.dataset.plot.split(" ").map(Number);
    var toX = axis(svg.dataset.x), toY = axis(svg.dataset.y);
    var points = curves.map(vertices);
    var tip = null, marks = [];

    function clear() {
      if (tip) tip.remove();
      tip = null;
      marks.forEach(function (mark) { mark.remove(); });
      marks = [];
    }
    function put(mark) { svg.appendChild(mark); marks.push(mark); }
    function row(curve, text) {
      var line = document.createElement("div"), dot = document.createElement("i"), label = document.createElement("span");
      line.className = curve.getAttribute("class").replace("curve", "").replace(/d\d/, "");
      label.textContent = (curves.length > 1 ? curve.dataset.label + " " : "") + text;
      line.append(dot, label);
      return line;
    }
    function show(event) {
      var box = svg.getBoundingClientRect(), unit = svg.viewBox.baseVal.width / box.width;
      var x = (event.clientX - box.left) * unit;
      clear();
      var shown = curves.filter(function (curve) { return !curve.classList.contains("is-off"); });
      if (x < plot[0] - 8 || x > plot[0] + plot[2] + 8 || !shown.length) return;
      x = Math.max(plot[0], Math.min(plot[0] + plot[2], x));
      tip = document.createElement("div");
      tip.className = "tip";
      var head = document.createElement("b");
      head.textContent = word(toX((x - plot[0]) / plot[2]), svg.dataset.xu);
      tip.append(head);
      put(make("path", { "class": "cross", d: "M" + x + " " + plot[1] + "V" + (plot[1] + plot[3]) }));
      shown.forEach(function (curve) {
        var own = points[curves.indexOf(curve)], ends = own[own.length - 1][0];
        if (!own.length || x > ends + 6) return;
        var point = nearest(own, x);
        var value = toY((plot[1] + plot[3] - point[1]) / plot[3]);
        tip.append(row(curve, word(value, svg.dataset.yu)));
        var colour = curve.getAttribute("class").match(/c\d/)[0];
        put(make("circle", { "class": "spot " + colour, cx: point[0], cy: point[1], r: 4 }));
      });
      figure.append(tip);
      var left = event.clientX - figure.getBoundingClientRect().left + 16;
      if (left + tip.offsetWidth > figure.clientWidth) left = left - tip.offsetWidth - 32;
      tip.style.left = Math.max(0, left) + "px";
      tip.style.top = box.top - figure.getBoundingClientRect().top + 24 + "px";
    }
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
    svg.addEventListener("pointerleave", clear);

    figure.querySelectorAll(".legend button").forEach(function (button) {
      var curve = curves[Number(button.dataset.line)];
      button.addEventListener("click", function () {
        var off = curve.classList.toggle("is-off");
        button.setAttribute("aria-pressed", String(!off));
        clear();
      });
      function dim(on) {
        curves.forEach(function (other) { if (other !== curve) other.classList.toggle("is-dim", on); });
      }
      button.addEventListener("pointerenter", function () { dim(true); });
      button.addEventListener("pointerleave", function () { dim(false); });
    });
  });
})();
