// Finds the published packages, which are installed outside of this repository. They are taken by
// the path of their files, since the AppView exports its server but not its indexer by name.

import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const folder = process.env.PEER_MODULES
if (!folder) throw new Error('PEER_MODULES must name the folder node_modules')

const load = (path) => import(pathToFileURL(join(folder, '@atproto', path)))

export const appview = await load('bsky/dist/index.js')
export const { IndexingService } = await load('bsky/dist/data-plane/server/indexing/index.js')
export const { jsonToLex, parseCid } = await load('lex/dist/index.js')
export const { AtUri } = await load('syntax/dist/index.js')
export const { Secp256k1Keypair } = await load('crypto/dist/index.js')

export const SCHEMA = 'bsky'

export const open = (url) => new appview.Database({ url, schema: SCHEMA, poolSize: 10 })

/** Asks `handle` for each line of standard input, one by one; its answer is a line of output. */
export async function answerLines(handle) {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await handle(JSON.parse(line))) + '\n')
  }
}
