// Calls an API with the token of a mounted Secret, for as long as it runs: caller.mjs URL [FOLDER [SECONDS]].
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const [url, folder = "/var/run/oauth", seconds = "60"] = process.argv.slice(2);

// The header lines of the Secret, as they are now. Kubernetes removes the folder of an earlier version right after it has put
// a new one in its place: whoever was just about to open a file there finds none, and looks again.
async function headers() {
  for (let triesLeft = 2; ; triesLeft--) {
    try {
      const lines = await readFile(`${folder}/headers`, "utf8");
      return lines.trim().split("\n").map((line) => line.split(/: (.*)/, 2));
    } catch (error) {
      if (error.code !== "ENOENT" || triesLeft === 0) throw error;
    }
  }
}

async function call() {
  // A redirect could lead to somebody whom the token is not for.
  const response = await fetch(url, { headers: await headers(), redirect: "error", signal: AbortSignal.timeout(10_000) });
  await response.arrayBuffer();
  if (!response.ok) throw new Error(`${response.status}`);
}

for (;;) {
  await call().catch((error) => console.error("caller:", error.message));
  await sleep(Number(seconds) * 1000);
}
