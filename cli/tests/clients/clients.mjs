// OpenAI's, Anthropic's and Vercel's clients against a server: `clients.mjs BASE_URL TOKEN`.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

const [base, token] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey: token, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: base, apiKey: token, maxRetries: 0 });
const WRITTEN = "Hello, I was written before.";
const user = (content) => [{ role: "user", content }];
const parameters = { type: "object", properties: { city: { type: "string" } } };

const tests = {
  async openaiChat() {
    const answer = await openai.chat.completions.create({ model: "demo", messages: user("Hi") });
    assert.equal(answer.choices[0].message.content, WRITTEN);
  },
  async openaiStream() {
    const stream = openai.chat.completions.stream({ model: "demo", messages: user("Hi") });
    assert.equal((await stream.finalChatCompletion()).choices[0].message.content, WRITTEN);
  },
  async openaiTools() {
    const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
    const asked = { model: "demo", messages: user("the weather?"), tools };
    const streamed = await openai.chat.completions.stream(asked).finalChatCompletion();
    const whole = await openai.chat.completions.create(asked);
    const said = (answer) => answer.choices[0].message.tool_calls.map((call) => call.function);
    assert.deepEqual(
      said(streamed).map((call) => call.arguments),
      said(whole).map((call) => call.arguments),
    );
  },
  async openaiResponses() {
    const answer = await openai.responses.create({ model: "demo", input: "Hi" });
    assert.equal(answer.output_text, WRITTEN);
  },
  async openaiEmbeddings() {
    const answer = await openai.embeddings.create({ model: "demo", input: ["a", "b"] });
    assert.equal(answer.data.length, 2);
  },
  async openaiErrors() {
    const asked = { model: "nope", messages: user("Hi") };
    await assert.rejects(openai.chat.completions.create(asked), OpenAI.NotFoundError);
  },
  async openaiHangsUp() {
    const stream = await openai.chat.completions.create({
      model: "demo", messages: user("Hi"), stream: true,
    });
    stream.controller.abort();
  },
  async anthropicMessages() {
    const asked = { model: "demo", max_tokens: 50, messages: user("Hi") };
    assert.equal((await anthropic.messages.create(asked)).content[0].text, WRITTEN);
    assert.equal(await anthropic.messages.stream(asked).finalText(), WRITTEN);
  },
  async anthropicTools() {
    const tools = [{ name: "get_weather", input_schema: parameters }];
    const asked = { model: "demo", max_tokens: 50, messages: user("the weather?"), tools };
    const answer = await anthropic.messages.stream(asked).finalMessage();
    const calls = answer.content.filter((part) => part.type === "tool_use");
    assert.deepEqual(calls.map((call) => call.input), [{ city: "Paris" }, { city: "Rome" }]);
  },
  async anthropicErrors() {
    const asked = { model: "nope", max_tokens: 5, messages: user("Hi") };
    await assert.rejects(anthropic.messages.create(asked), Anthropic.NotFoundError);
  },
  async vercel() {
    const provider = createOpenAICompatible({ name: "matrix", baseURL: `${base}/v1`, apiKey: token });
    const asked = { model: provider("demo"), prompt: "Hi" };
    assert.equal((await generateText(asked)).text, WRITTEN);
    let text = "";
    for await (const piece of streamText(asked).textStream) text += piece;
    assert.equal(text, WRITTEN);
  },
};

for (const [name, test] of Object.entries(tests)) {
  await test();
  console.log(name);
}
