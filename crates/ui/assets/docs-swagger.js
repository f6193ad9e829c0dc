// Starts Swagger UI on our own description; the token that is typed under Authorize stays in this tab.
window.addEventListener("DOMContentLoaded", () => {
  const target = document.getElementById("docs");
  window.SwaggerUIBundle({
    domNode: target,
    url: target.dataset.spec,
    deepLinking: true,
    displayRequestDuration: true,
    persistAuthorization: false,
    tryItOutEnabled: true,
    validatorUrl: null,
  });
});
