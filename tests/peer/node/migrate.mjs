// migrate.mjs URL: makes the AppView's schema in an empty database, by its own migrations.

import { open } from './packages.mjs'

const db = open(process.argv[2])
await db.migrateToLatestOrThrow()
await db.close()
