// A browser lets no page that is opened as a file search: say what does.
if (location.protocol === "file:") {
  const field = document.querySelector(".md-search__input");
  field.placeholder = "Needs a server";
  field.title = "Search works under 'mkdocs serve', not in a page that is opened as a file";
  field.disabled = true;
}
