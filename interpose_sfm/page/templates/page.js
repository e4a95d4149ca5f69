"use strict";
// What moves on the page. All texts are in it already; names are only ever set as text.
(() => {
  const data = JSON.parse(document.getElementById("scene-data").textContent);
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const kindColor = {"COLMAP": "--colmap", "learned link": "--learned", "clip": "--clip", "network": "--network", "joined": "--joined"};

  // ------------------------------------------------------------ a photo by itself
  const dialog = document.getElementById("photo-dialog");
  function showPhoto(index) {
    const photo = data.photos[index], image = document.getElementById("im" + index);
    const picture = document.getElementById("photo-dialog-picture");
    document.getElementById("photo-dialog-name").textContent = photo.name;
    document.getElementById("photo-dialog-text").textContent = photo.held_by ? "held by: " + photo.held_by : "";
    picture.replaceChildren();
    picture.setAttribute("aria-label", "Photo " + photo.name);
    if (image) {
      const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
      use.setAttribute("href", "#im" + index);
      picture.setAttribute("viewBox", `0 0 ${image.getAttribute("width")} ${image.getAttribute("height")}`);
      picture.append(use);
    }
    if (!dialog.open) dialog.showModal();
  }
  all("button.photo").forEach((button) => button.addEventListener("click", () => showPhoto(Number(button.dataset.photo))));

  // ------------------------------------------------------------ points and cameras
  const view = document.getElementById("scene");
  let shown = 0;
  function traces(model) {
    const [x, y, z] = model.points;
    const found = [{type: "scatter3d", mode: "markers", name: "points", x, y, z, hoverinfo: "skip", showlegend: false,
      marker: {size: 1.6, color: model.colors}}];
    for (const kind of data.kinds) {
      const cameras = model.cameras.filter((camera) => (data.photos[camera.photo].held_by || "COLMAP") === kind);
      if (!cameras.length) continue;
      const lines = [[], [], []], paint = color(kindColor[kind]);
      for (const {center, corners} of cameras) {
        const way = [center, corners[0], corners[1], center, corners[2], corners[3], center, null, corners[1], corners[2], null, corners[3], corners[0], null];
        for (const place of way) lines.forEach((axis, i) => axis.push(place ? place[i] : null));
      }
      found.push({type: "scatter3d", mode: "lines", x: lines[0], y: lines[1], z: lines[2], hoverinfo: "skip",
        showlegend: false, line: {color: paint, width: 3}});
      found.push({type: "scatter3d", mode: "markers", x: cameras.map((c) => c.center[0]), y: cameras.map((c) => c.center[1]),
        z: cameras.map((c) => c.center[2]), customdata: cameras.map((c) => c.photo), hoverinfo: "none", showlegend: false,
        marker: {size: 5, color: paint}});
    }
    return found;
  }
  function draw() {
    const bare = {visible: false, showspikes: false};
    const layout = {
      margin: {l: 0, r: 0, t: 0, b: 0}, paper_bgcolor: "rgba(0,0,0,0)", uirevision: shown,
      scene: {xaxis: bare, yaxis: bare, zaxis: bare, aspectmode: "data", dragmode: "orbit",
        camera: {eye: {x: 1.05, y: 1.05, z: 0.8}}},
    };
    const config = {displaylogo: false, responsive: true, modeBarButtonsToRemove: ["toImage"]};
    return Plotly.react(view, traces(data.models[shown]), layout, config).then(() => { view.dataset.drawn = "true"; });
  }
  if (view) {
    draw().then(() => {
      view.on("plotly_hover", (event) => {
        const index = event.points[0].customdata;
        if (index === undefined || index === null) return;
        view.dataset.hovered = String(index);
        view.title = data.photos[index].name;
      });
      view.on("plotly_unhover", () => { delete view.dataset.hovered; view.removeAttribute("title"); });
      view.on("plotly_click", (event) => {
        const index = event.points[0].customdata;
        if (index !== undefined && index !== null) showPhoto(Number(index));
      });
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    const choices = all("#scene-choice button");
    choices.forEach((button) => button.addEventListener("click", () => {
      shown = Number(button.dataset.model);
      choices.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      draw();
    }));
  }

  // ------------------------------------------------------------ graph and table say the same
  const text = document.getElementById("filter-text"), boxes = all("#filter input[type=checkbox]");
  const filtered = all("[data-names]"), nodes = all(".node"), rows = all("#pair-table tbody tr");
  function filter() {
    const wanted = text.value.toLowerCase();
    const groups = new Set(boxes.filter((box) => box.checked).map((box) => box.dataset.group));
    for (const element of filtered) {
      const names = element.dataset.names.toLowerCase().split("\n");
      element.toggleAttribute("hidden", !(groups.has(element.dataset.group) && names.some((name) => name.includes(wanted))));
    }
    for (const node of nodes) node.setAttribute("aria-pressed", String(wanted !== "" && node.dataset.name.toLowerCase() === wanted));
    const left = rows.filter((row) => !row.hasAttribute("hidden")).length;
    document.getElementById("filter-result").textContent = left === rows.length ? "" : `${left} of ${rows.length} weak pairs are shown`;
  }
  text.addEventListener("input", filter);
  boxes.forEach((box) => box.addEventListener("change", filter));
  document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
  for (const node of nodes) {
    const choose = () => {
      text.value = text.value === node.dataset.name ? "" : node.dataset.name;
      filter();
    };
    node.addEventListener("click", choose);
    node.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); }
    });
  }
  function openPair(index) {
    const details = document.getElementById("pair-" + index);
    if (!details) return;
    details.open = true;
    details.scrollIntoView();
    details.querySelector("summary").focus({preventScroll: true});
  }
  all(".edge[data-pair]").forEach((edge) => edge.addEventListener("click", () => openPair(edge.dataset.pair)));
  all("#pair-table a").forEach((link) => link.addEventListener("click", () => openPair(link.hash.replace("#pair-", ""))));

  // ------------------------------------------------------------ clips
  const FRAME_MS = 250;
  for (const clip of all(".clip")) {
    const play = clip.querySelector(".play"), slider = clip.querySelector("input[type=range]"), player = clip.querySelector(".player");
    if (!play) continue;
    const number = Number(clip.dataset.frames);
    let timer = 0;
    const show = (frame) => {
      slider.value = String(frame);
      player.dataset.frame = String(frame);
      player.style.backgroundPositionX = number > 1 ? `${100 * frame / (number - 1)}%` : "0";
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
      play.setAttribute("aria-pressed", "false");
    };
    play.addEventListener("click", () => {
      if (timer) return stop();
      timer = setInterval(() => show((Number(slider.value) + 1) % number), FRAME_MS);
      play.textContent = "Pause";
      play.setAttribute("aria-pressed", "true");
    });
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    show(0);
  }

  // ------------------------------------------------------------ commands
  for (const button of all(".copy")) {
    button.addEventListener("click", () => {
      const code = button.parentElement.querySelector("code");
      const told = (said) => { button.textContent = said; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
      const select = () => { getSelection().selectAllChildren(code); told("Selected"); };
      if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(() => told("Copied"), select);
      else select();
    });
  }
})();
