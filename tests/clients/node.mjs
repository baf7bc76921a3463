// Asks a server as people do who know OpenAI's, by openai-node, unmodified.
//
//     node node.mjs URL TEXT      URL such as http://127.0.0.1:8080, TEXT what the model says greedily after "Hello"

import assert from "node:assert/strict";
import OpenAI from "openai";

const [url, text] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const messages = [{ role: "user", content: "What is Ferrite?" }];

const model = (await client.models.list()).data[0].id;
const completion = await client.completions.create({ model, prompt: "Hello", max_tokens: 10, temperature: 0 });
assert.equal(completion.choices[0].text, text);

const request = { model, messages, temperature: 0, max_tokens: 20 };
const whole = await client.chat.completions.create(request);
const content = whole.choices[0].message.content;
assert.ok(content);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(streamed, content);

const stream = client.chat.completions.stream(request);
assert.equal((await stream.finalChatCompletion()).choices[0].message.content, content);

// One that is given up in the middle.
const broken = await client.completions.create({ model, prompt: "Hello", max_tokens: 200, stream: true });
for await (const _ of broken) break;
broken.controller.abort();

await assert.rejects(
  client.chat.completions.create({ ...request, messages: [{ role: "user", content: 1 }] }),
  (error) => error instanceof OpenAI.BadRequestError && error.param === "messages[0].content",
);
console.log("openai-node: as it must be");
