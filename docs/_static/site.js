// What scrolls sideways inside a page can be scrolled by the keyboard, too; what does not is no stop on its way.
const sideways = "pre, .table-wrapper, .formula, .themed, .cell_output";

function letTheKeyboardScroll() {
  for (const each of document.querySelectorAll(sideways)) {
    if (each.scrollWidth > each.clientWidth) each.setAttribute("tabindex", "0");
    else each.removeAttribute("tabindex");
  }
}

letTheKeyboardScroll();
window.addEventListener("resize", letTheKeyboardScroll);
document.addEventListener("toggle", letTheKeyboardScroll, true); // a <details> that opens
