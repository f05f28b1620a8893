import "uplot/dist/uPlot.min.css";
import "./style.css";
import { render } from "preact";
import { App } from "./App";
import { start } from "./api";

const root = document.getElementById("console");
if (root) {
  render(<App />, root);
  void start();
}
