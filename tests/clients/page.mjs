// Uses the page at / as people do, in Chromium: by mouse, by keyboard, on a phone.
//
//     node page.mjs URL CHROMIUM [SCREENSHOT]      URL such as http://127.0.0.1:8080, CHROMIUM the program

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [url, program, screenshot] = process.argv.slice(2);
// Where there is no user for a sandbox, as in a container's root, Chromium would not start.
const browser = await chromium.launch({ executablePath: program, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 900, height: 640 } });
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(error.message));
page.on("request", (request) => assert.ok(request.url().startsWith(url) || request.url().startsWith("data:"), request.url()));
await page.goto(url);

// What a screen reader has to go by.
const log = page.getByRole("log", { name: "Conversation" });
const message = page.getByRole("textbox", { name: "Message" });
const stop = page.getByRole("button", { name: "Stop" });
await page.getByRole("combobox", { name: "Model" }).waitFor();
await page.waitForFunction(() => document.getElementById("model").value);
assert.ok(await message.evaluate((box) => box === document.activeElement), "one can type at once");
assert.ok(await stop.isDisabled());

// A question by keyboard alone, answered as it is generated.
await page.getByText("Settings").click();
await page.getByRole("spinbutton", { name: "Temperature" }).fill("0");
await message.focus();
await page.keyboard.type("What is Ferrite?");
await page.keyboard.press("Enter");
const answers = log.locator(".assistant");
await page.waitForFunction(() => document.querySelector(".figures"));
const first = await answers.first().textContent();
assert.match(first, /^Ferrite: .{10}/);
assert.match(await page.locator(".figures").first().textContent(), /tokens in .* tokens\/s/);
assert.equal(await log.getAttribute("aria-busy"), "false");

// The second knows of the first, and what is written is text, whatever it looks like.
await page.keyboard.type("<b>Hello</b>");
await page.keyboard.press("Shift+Enter");
await page.keyboard.type("there");
await page.getByRole("button", { name: "Send" }).click();
await page.waitForFunction(() => document.querySelectorAll(".figures").length === 2);
assert.equal(await log.locator(".user").nth(1).textContent(), "You: <b>Hello</b>\nthere");
assert.equal(await log.locator("b").count(), 0);

// One that is stopped keeps what it has said.
await page.getByRole("spinbutton", { name: "Temperature" }).fill("1.5");
await message.fill("Tell me a long story about a robot");
await page.keyboard.press("Enter");
await page.waitForFunction(() => !document.getElementById("stop").disabled || document.querySelectorAll(".figures").length === 3);
await page.keyboard.press("Escape");
await page.waitForFunction(() => document.getElementById("stop").disabled);

// A refusal is told in words.
await page.getByRole("spinbutton", { name: "Top p" }).fill("7");
await message.fill("Hello");
await page.keyboard.press("Enter");
assert.match(await log.locator(".failed").textContent(), /top_p/);
await page.getByRole("spinbutton", { name: "Top p" }).fill("0.95");

// A conversation that is left while an answer comes has no part in the next.
let asked = null;
page.on("request", (request) => request.url().endsWith("/v1/chat/completions") && (asked = request.postDataJSON()));
await message.fill("Tell me a long story about a robot");
await page.keyboard.press("Enter");
await page.getByRole("button", { name: "New conversation" }).click();
await page.waitForFunction(() => document.getElementById("stop").disabled);

// A schema that is no JSON is told beside its field, and nothing is sent.
await page.getByText("Schema and tools").click();
const schema = page.getByRole("textbox", { name: "JSON schema of the answer" });
asked = null;
for (const [text, fault] of [['{"type": ', /^Error: .*JSON/], ['["object"]', /^Error: a schema is an object/]]) {
  await schema.fill(text);
  await message.fill("Is Ferrite a kernel?");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "schema");
  assert.match(await page.getByRole("alert").first().textContent(), fault);
  assert.equal(await schema.getAttribute("aria-invalid"), "true");
  assert.equal(await message.inputValue(), "Is Ferrite a kernel?");
}
assert.equal(asked, null);
assert.equal(await log.textContent(), "");

// One that the server refuses is told in its words.
await schema.fill('{"properties": {"answer": {"type": "king"}}}');
await message.focus();
assert.equal(await page.getByRole("alert").first().textContent(), "");
await page.keyboard.press("Enter");
await log.locator(".failed").waitFor();
assert.match(await log.locator(".failed").textContent(), /\/properties\/answer/);

// The answer keeps to one that it takes, whose members come in its order, those that look like numbers too.
await schema.fill(`{"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}, "7": {"type": "integer", "minimum": 0, "maximum": 9}},
  "required": ["answer", "7"], "additionalProperties": false}`);
await message.fill("Is Ferrite a kernel?");
await page.keyboard.press("Enter");
await log.locator(".figures").waitFor();
assert.equal(asked.response_format.json_schema.strict, true);
assert.equal(asked.messages.length, 1);
const [, answer] = (await answers.last().textContent()).match(/^Ferrite: (.*)$/s);
const { answer: yes, 7: seven, ...others } = JSON.parse(answer);
assert.ok(["yes", "no"].includes(yes) && seven >= 0 && seven <= 9, answer);
assert.deepEqual(others, {});
assert.ok(answer.indexOf("answer") < answer.indexOf("7"), answer);
await schema.fill("");

// The machine's picture moves.
await page.waitForFunction(() => /^\d+ of \d+$/.test(document.getElementById("page-count").textContent));
await page.waitForFunction(() => document.querySelector("#curve polyline").getAttribute("points").includes(" "));

if (screenshot) {
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByText("Settings").click();
  await page.getByRole("spinbutton", { name: "Temperature" }).fill("0");
  await page.getByText("Settings").click();
  for (const [n, text] of ["What is Ferrite?", "Who are you?"].entries()) {
    await message.fill(text);
    await page.keyboard.press("Enter");
    await page.waitForFunction((n) => document.querySelectorAll(".figures").length === n, n + 1);
  }
  await page.waitForTimeout(2500);
  await page.screenshot({ path: screenshot });
}

// On a phone nothing is wider than the screen, with settings, schema and tools neither, by day and by night.
const more = page.locator("footer summary");
for (const colorScheme of ["light", "dark"]) {
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize({ width: 360, height: 640 });
  for (let n = 0; n < (await more.count()); n++) {
    await more.nth(n).evaluate((summary) => (summary.parentElement.open = true));
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `${width} pixels wide`);
  }
  // Contrast of text as WCAG 2 asks for it.
  const contrast = await page.evaluate(() => {
    const light = (css) => {
      const [r, g, b] = css.match(/\d+/g).slice(0, 3).map((n) => {
        const c = n / 255;
        return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const body = getComputedStyle(document.body);
    const summary = getComputedStyle(document.querySelector("summary"));
    return [body.color, summary.color].map((color) => {
      const [high, low] = [light(color), light(body.backgroundColor)].sort((a, b) => b - a);
      return (high + 0.05) / (low + 0.05);
    });
  });
  assert.ok(Math.min(...contrast) >= 4.5, `contrast of ${contrast}, ${colorScheme}`);
}
complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("400 (Bad Request)")));
assert.deepEqual(complaints, []);
await browser.close();
console.log("page in Chromium: as it must be");
