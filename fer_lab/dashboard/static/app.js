// Three comforts, none of them needed: colours, news of a running lesson, values under the pointer.
"use strict";
const root = document.documentElement;
const chosen = localStorage.getItem("theme");
if (chosen) root.dataset.theme = chosen;

document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
    });
  }
  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => print());
  }
  document.querySelectorAll("[data-readout]").forEach(readOut);
  const live = document.querySelector("[data-live]");
  if (live) follow(live);
});

// Ask for the changing parts and put those in place that differ.
function follow(live) {
  let version = "", lost = null;
  const notice = document.querySelector("[data-lost]");
  const ask = async () => {
    try {
      const answer = await fetch(`${live.dataset.live}?version=${version}`, { signal: AbortSignal.timeout(10000) });
      if (answer.status === 401 || answer.status === 404 || answer.headers.has("X-Ended")) return location.reload();
      if (answer.status !== 200 && answer.status !== 204) throw new Error(answer.status);
      lost = null;
      if (answer.status === 200) {
        version = answer.headers.get("X-Version");
        replaceParts(new DOMParser().parseFromString(await answer.text(), "text/html"));
      }
    } catch {
      lost ??= new Date().toLocaleTimeString();
      notice.querySelector("span").textContent = lost;
    }
    notice.hidden = !lost;
    live.classList.toggle("old", Boolean(lost));
    setTimeout(ask, document.hidden ? 5000 : Number(live.dataset.every));
  };
  setTimeout(ask, Number(live.dataset.every));
}

function replaceParts(news) {
  for (const part of news.querySelectorAll("[data-part]")) {
    const old = document.getElementById(part.id);
    if (old && old.innerHTML !== part.innerHTML) old.innerHTML = part.innerHTML;
  }
}

// Values of a chart at the pointer, or at a place moved by the arrow keys.
function readOut(figure) {
  const output = figure.querySelector("output");
  const mix = figure.dataset.readout === "mix";
  const cursor = document.createElement("i");
  cursor.className = "cursor";
  cursor.hidden = true;
  figure.append(cursor);
  let place = null;
  const holder = () => document.querySelector("[data-points]");
  const show = (points, names) => {
    const [second, ...values] = points[place];
    const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
    const shares = values.slice(3).map((share, k) => [share, names[k + 3]]).sort((a, b) => b[0] - a[0]);
    output.textContent = `${clock(second)}  ` + (mix
      ? shares.filter(([share]) => share >= 0.005).map(([share, name]) => `${name} ${Math.round(100 * share)} %`).join(", ")
      : `LSI ${signed(values[0])}, 95 % band ${signed(values[1])} to ${signed(values[2])}`);
    const width = points.length > 1 ? points[1][0] - points[0][0] : 1;
    const chart = figure.querySelector("svg.chart");
    const box = chart.getBoundingClientRect();
    cursor.style.left = `${box.left - figure.getBoundingClientRect().left + box.width * Math.min(1, (second + width / 2) / Number(holder().dataset.end))}px`;
    cursor.hidden = false;
  };
  const withPoints = (choose) => {
    if (!holder()) return;
    const points = JSON.parse(holder().dataset.points);
    if (!points.length) return;
    place = choose(points);
    show(points, JSON.parse(holder().dataset.names));
  };
  figure.addEventListener("pointermove", (event) => {
    const box = figure.querySelector("svg.chart").getBoundingClientRect();
    const second = (event.clientX - box.left) / box.width * Number(holder()?.dataset.end);
    withPoints((points) => points.reduce((best, point, k) => Math.abs(point[0] - second) < Math.abs(points[best][0] - second) ? k : best, 0));
  });
  figure.addEventListener("pointerleave", () => { cursor.hidden = true; });
  figure.addEventListener("blur", () => { cursor.hidden = true; });
  figure.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    withPoints((points) => Math.max(0, Math.min(points.length - 1, (place ?? points.length - 1 - steps[event.key]) + steps[event.key])));
  });
}

function clock(seconds) {
  const two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60), rest = two(seconds % 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${rest}`;
}
