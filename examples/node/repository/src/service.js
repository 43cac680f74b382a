/** The postage of a letter over HTTP, on loopback. */

import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { PostageError, postage } from "./postage.js";

/** A server that answers /health and /quote?grams=N. */
export function service() {
  return createServer((request, response) => {
    const answer = (status, body) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    };
    const url = new URL(request.url, "http://localhost");
    if (url.pathname === "/health") {
      return answer(200, { status: "ready" });
    }
    if (url.pathname !== "/quote") {
      return answer(404, { error: `there is no ${url.pathname}` });
    }
    const grams = Number(url.searchParams.get("grams"));
    try {
      return answer(200, { grams, cents: postage(grams) });
    } catch (error) {
      if (error instanceof PostageError) {
        return answer(400, { error: error.message });
      }
      throw error;
    }
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({ options: { port: { type: "string", default: "8090" } } });
  service().listen(Number(values.port), "127.0.0.1");
}
