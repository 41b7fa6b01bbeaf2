// serve.mjs URL: the AppView's data-plane server over a database, and its public server over that.
// Prints {"appview": PORT}; then calls the data plane by the AppView's own client: each line of
// input {"method", "params"} is answered with the response as JSON, or {"code", "message"}.

import { Secp256k1Keypair, answerLines, appview, open } from './packages.mjs'

const NOWHERE = 'http://127.0.0.1:9'

const db = open(process.argv[2])
const dataplane = await appview.DataPlaneServer.create(db, 0, NOWHERE)
const config = appview.ServerConfig.readEnv({
  port: 0,
  publicUrl: 'https://appview.test',
  serverDid: 'did:web:appview.test',
  didPlcUrl: NOWHERE,
  dataplaneUrls: [`http://127.0.0.1:${dataplane.server.address().port}`],
  dataplaneHttpVersion: '1.1',
})
const server = appview.BskyAppView.create({ config, signingKey: await Secp256k1Keypair.create() })
const listening = await server.start()
process.stdout.write(JSON.stringify({ appview: listening.address().port }) + '\n')

await answerLines(async ({ method, params }) => {
  try {
    return (await server.ctx.dataplane[method](params)).toJson()
  } catch (error) {
    return { code: appview.Code[error.code] ?? 'Internal', message: error.message }
  }
})
await server.destroy()
await dataplane.destroy()
await db.close()
process.exit(0)
