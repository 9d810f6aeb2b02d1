import { render } from "preact";
import { App } from "./app";
import { Session, type PageData } from "./session";
import "./style.css";

const data = JSON.parse(document.getElementById("lstmkit-data")!.textContent!) as PageData;
const session = new Session(data);
render(<App session={session} />, document.getElementById("app")!);
// For the tests, and for those who like a console.
Object.assign(window, { lstmkit: session });
