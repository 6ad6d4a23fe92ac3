charts = JSON.parse(document.getElementById("data").textContent).charts;
