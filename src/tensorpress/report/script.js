"use strict";
// Without JavaScript the layers fold open one at a time; with it they are chosen from a list.
const layers = [...document.querySelectorAll("#spectra details")];
const form = document.getElementById("pick");
if (form && layers.length > 1) {
  const list = document.getElementById("pick-layer");
  const show = (index) => {
    list.selectedIndex = (index + layers.length) % layers.length;
    layers.forEach((layer, number) => {
      layer.hidden = number !== list.selectedIndex;
      layer.open = !layer.hidden;
    });
  };
  list.addEventListener("change", () => show(list.selectedIndex));
  document.getElementById("pick-previous").addEventListener("click", () => show(list.selectedIndex - 1));
  document.getElementById("pick-next").addEventListener("click", () => show(list.selectedIndex + 1));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show(list.selectedIndex);
}
