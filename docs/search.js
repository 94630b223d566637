// A browser lets no page that is opened as a file search: say what does.
if (location.protocol === "file:") {
  const field = document.querySelector(".md-search__input");
  field.placeholder = "Search works under 'mkdocs serve'";
  field.disabled = true;
}
