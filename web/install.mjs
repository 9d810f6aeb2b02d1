// The built page, with the licences of what is in it, goes into the package, where it is checked in.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const here = (path) => new URL(path, import.meta.url);
const packed = JSON.parse(readFileSync(here("package-lock.json"), "utf-8")).packages;
const notices = Object.entries(packed)
  .filter(([path, entry]) => path && !entry.dev)
  .map(([path, entry]) => {
    const file = readdirSync(here(path)).find((name) => /^licen[cs]e/i.test(name));
    if (!file) throw new Error(`${path} has no licence file`);
    return `${path.replace("node_modules/", "")} ${entry.version}\n\n${readFileSync(here(`${path}/${file}`), "utf-8").trim()}`;
  })
  .filter((notice, k, all) => notice.startsWith("preact") || all.findIndex((n) => n.split("\n\n").slice(1).join() === notice.split("\n\n").slice(1).join()) === k);
const names = Object.entries(packed).filter(([path, entry]) => path && !entry.dev).map(([path]) => path.replace("node_modules/", ""));

const page = readFileSync(here("dist/page.html"), "utf-8").trimEnd();
const comment = `<!--\nIn this page: ${names.join(", ")}. Their licences:\n\n${notices.join("\n\n----\n\n").replaceAll("--", "- -")}\n-->\n`;
const packedPage = gzipSync(`${page}\n${comment}`, { level: 9 });
writeFileSync(here("../src/lstmkit/explorer/page.html.gz"), packedPage);
console.log(`src/lstmkit/explorer/page.html.gz: ${(packedPage.length / 1000).toFixed(1)} kB`);
