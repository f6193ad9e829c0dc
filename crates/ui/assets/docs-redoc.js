// Starts Redoc on our own description.
window.addEventListener("DOMContentLoaded", () => {
  const target = document.getElementById("docs");
  window.Redoc.init(target.dataset.spec, { hideHostname: false, nativeScrollbars: true }, target);
});
