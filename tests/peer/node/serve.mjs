// serve.mjs URL: the AppView's data-plane server over a database, and its public server over that.
// Prints {"dataplane": PORT, "appview": PORT}, and serves until standard input ends.

import { Secp256k1Keypair, appview, open } from './packages.mjs'

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
process.stdout.write(
  JSON.stringify({ dataplane: dataplane.server.address().port, appview: listening.address().port }) + '\n',
)

for await (const _ of process.stdin);
await server.destroy()
await dataplane.destroy()
await db.close()
process.exit(0)
