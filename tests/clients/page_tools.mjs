// Has the page at / show thoughts and calls of tools apart, and send back what the tools return, in Chromium.
//
//     node page_tools.mjs URL CHROMIUM      URL of `cargo run -p serve --example told`, whose models say what they are told

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [url, program] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: program, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 900, height: 900 } });
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(error.message));
await page.goto(url);
const log = page.getByRole("log", { name: "Conversation" });
const message = page.getByRole("textbox", { name: "Message" });
const schema = page.getByRole("textbox", { name: "JSON schema of the answer" });
const tools = page.getByRole("textbox", { name: "Tools as JSON" });
const choice = page.getByRole("combobox", { name: "Tool choice" });
await page.waitForFunction(() => document.getElementById("model").value);
await page.getByRole("combobox", { name: "Model" }).selectOption("hermes");

// Does this, which asks the server; what was asked, once it is answered.
async function asking(act) {
  const n = await page.locator(".figures, .failed").count();
  const sent = page.waitForRequest((request) => request.url().endsWith("/v1/chat/completions"));
  await act();
  const request = await sent;
  await page.waitForFunction((n) => document.querySelectorAll(".figures, .failed").length > n, n);
  await page.waitForFunction(() => document.getElementById("stop").disabled);
  return { asked: request.postDataJSON(), headers: request.headers() };
}
const say = (text) => asking(async () => {
  await message.fill(`What is the weather in Paris? Say:\n${text}`);
  await page.keyboard.press("Enter");
});

await page.getByText("Settings").click();
await page.getByLabel("Key").fill("sesame");

// A thought is apart, closed once the answer begins, and no part of it.
const { headers } = await say("<think>\nHm, <b>Paris</b>.\n</think>\n\nIt rains.");
assert.equal(headers.authorization, "Bearer sesame");
const first = log.locator(".assistant").first();
const thought = first.locator("details");
assert.equal(await first.locator(":scope > span").last().textContent(), "It rains.");
assert.equal(await thought.evaluate((details) => details.open), false);
assert.ok(!(await first.getByText("Hm, <b>Paris</b>.").isVisible()));
await thought.locator("summary").focus();
await page.keyboard.press("Enter");
assert.ok(await first.getByText("Hm, <b>Paris</b>.").isVisible());
assert.ok((await thought.boundingBox()).y < (await first.getByText("It rains.").boundingBox()).y, "a thought is above the answer");

// It is open as long as the model thinks.
await say("<think>\nHm.");
assert.ok(await log.getByText("Hm.", { exact: true }).isVisible());
await page.getByRole("button", { name: "New conversation" }).click();
await say("It rains.");

// Tools that are none are told beside the field, and nothing is sent.
await page.getByText("Schema and tools").click();
const faults = page.getByRole("alert");
for (const [text, fault] of [["[{", /^Error: .*JSON/], ['{"type": "function"}', /^Error: tools are an array/], ["[{}]", /^Error: tools are an array/]]) {
  await tools.fill(text);
  await message.fill("Hello");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "tools");
  assert.match(await faults.nth(1).textContent(), fault);
  assert.equal(await tools.getAttribute("aria-invalid"), "true");
  assert.equal(await message.inputValue(), "Hello");
}
assert.equal(await log.locator(".user").count(), 1);

// Those that are right can be chosen by name.
const weather = '{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}';
await tools.fill(`[${weather}, {"type": "function", "function": {"name": "now"}}]`);
await message.focus();
assert.equal(await tools.getAttribute("aria-invalid"), "false");
assert.equal(await faults.nth(1).textContent(), "");
assert.deepEqual(await choice.locator("option").allTextContents(), ["auto", "none", "required", "get_weather", "now"]);

// Calls are cards, their arguments in lines, to the last digit.
const call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris, \\"{F}\\"", "days": 12345678901234567890}}\n</tool_call>';
const { asked } = await say(`<think>\nHm.\n</think>\n\nI look.\n${call}\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>`);
assert.deepEqual(asked.tools.map((tool) => tool.function.name), ["get_weather", "now"]);
assert.equal(asked.tool_choice, "auto");
const card = log.getByRole("group", { name: "Call of get_weather" });
assert.equal(await card.locator("pre").textContent(), '{\n  "city": "Paris, \\"{F}\\"",\n  "days": 12345678901234567890\n}');
assert.equal(await log.getByRole("group", { name: "Call of now" }).locator("pre").textContent(), "{}");
assert.equal(await log.locator(".assistant").nth(1).locator(":scope > span").last().textContent(), "I look.");

// Their results go back, by keyboard, and the conversation goes on.
assert.ok(await card.getByRole("textbox", { name: "Result" }).evaluate((box) => box === document.activeElement));
await choice.selectOption("now");
const { asked: next } = await asking(async () => {
  await card.getByRole("textbox", { name: "Result" }).focus();
  await page.keyboard.type("It rains.");
  await page.keyboard.press("Tab");
  await page.keyboard.type("12:34");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
});
assert.equal(next.tool_choice, "auto", "what a tool returned is answered");
const [calls, ...results] = next.messages.slice(-3);
assert.equal(calls.content, "I look.");
assert.equal(calls.reasoning_content, "Hm.");
assert.deepEqual(calls.tool_calls.map(({ function: { name } }) => name), ["get_weather", "now"]);
assert.ok(calls.tool_calls[0].function.arguments.includes("12345678901234567890"));
assert.deepEqual(results, ["It rains.", "12:34"].map((content, n) => ({ role: "tool", tool_call_id: calls.tool_calls[n].id, content })));
assert.equal(await log.locator(".assistant").last().textContent(), "Ferrite: 12:34");
assert.ok(!(await card.getByRole("textbox", { name: "Result" }).isEditable()));
assert.equal(await log.getByRole("button", { name: "Send results" }).count(), 0);

// What the server refuses is told in its words, and results can be sent anew.
const { asked: forced } = await say(call);
assert.deepEqual(forced.tool_choice, { type: "function", function: { name: "now" } });
const again = log.getByRole("group", { name: "Call of get_weather" }).last();
const right = await tools.inputValue();
await tools.fill('[{"type": "other", "function": {"name": "now"}}]');
const send = log.getByRole("button", { name: "Send results" });
await again.getByRole("textbox", { name: "Result" }).fill("It snows.");
await asking(() => send.click());
assert.match(await log.locator(".failed").textContent(), /^Error: tools\[0\]\.type: "other"/);
await tools.fill(right);
const { asked: last } = await asking(() => send.click());
assert.deepEqual(last.messages.at(-1).content, "It snows.");
assert.equal(last.messages.filter(({ role }) => role === "tool").length, 3);
assert.equal(await log.locator(".assistant").last().textContent(), "Ferrite: It snows.");

complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("400 (Bad Request)")));
assert.deepEqual(complaints, []);
await browser.close();
console.log("page in Chromium, thoughts and calls: as they must be");
