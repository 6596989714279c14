// SPDX-License-Identifier: MIT
/*
 * Hands a message to a replica and prints what became of it at each; README.md says how to run it.
 *
 * The replica has 2 s, and we wait a little longer, so that a receipt that took all of that still
 * comes. Exit codes: 0 all of them did it, 4 not all, 1 another error; 5 unknown.
 */
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";
import { Dealer, Request } from "zeromq";

const schema = fileURLToPath(new URL("../../proto/zmqnet.proto", import.meta.url));
const Body = protobuf.loadSync(schema).lookupType("zmqnet.wire.Body");
const [sort, endpoint, message] = process.argv.slice(2);
const socket = new { req: Request, dealer: Dealer }[sort]({ linger: 0, receiveTimeout: 2500 });
socket.connect(endpoint);
const origin = protobuf.util.Long.fromString(randomBytes(8).toString("hex"), true, 16);
const ask = { kind: "SUBMIT", message: Buffer.from(message), origin, seq: 1, budgetMs: 2000, attempt: 1 };
await socket.send(Body.encode(Body.fromObject(ask)).finish());
const [answer] = await socket.receive().catch(() => {
    console.error("unknown: no answer in time, it may have happened");
    process.exit(5);
});
const receipt = Body.toObject(Body.decode(answer), { enums: String, defaults: true });
for (const row of receipt.rows)
    console.log(row.name.padEnd(10), row.outcome.padEnd(10), row.why);
console.log(`${receipt.have} of ${receipt.need} said yes`, receipt.message.toString());
process.exitCode = { 0: 0, "-14": 4 }[receipt.code] ?? 1;
