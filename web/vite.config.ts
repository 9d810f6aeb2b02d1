import { defineConfig } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

// One file, with nothing to load: `src/lstmkit/explorer/page.html.gz` is a part of the package.
export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  plugins: [viteSingleFile({ removeViteModuleLoader: true })],
  build: {
    target: "es2021",
    outDir: "dist",
    emptyOutDir: true,
    rollupOptions: { input: "page.html" },
  },
});
