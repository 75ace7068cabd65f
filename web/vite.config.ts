import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

const server = process.env.COMFYVN_SERVER ?? "http://127.0.0.1:8765";

export default defineConfig({
  base: "./",
  plugins: [vue()],
  build: {
    outDir: "../src/comfyvn/server/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: true,
  },
  server: {
    proxy: {
      "/assets": server,
      "/events": { target: server, ws: true },
      "/session": server,
    },
  },
});
