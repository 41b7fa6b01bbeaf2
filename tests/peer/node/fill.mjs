// fill.mjs URL: indexes the events of standard input (Jetstream lines), one by one, by the
// AppView's own indexer. Answers each with {"accepted": true} or {"accepted": false, "error"}.

import { AtUri, IndexingService, answerLines, appview, jsonToLex, open, parseCid } from './packages.mjs'

// What the network says is what the identity events before said: a handle is the last claimant's.
const handles = new Map()
const holders = new Map()

const idResolver = {
  did: {
    // Whoever is asked for when its account was deleted is gone from its server, too.
    resolve: async () => null,
    resolveAtprotoData: async (did) => {
      const handle = handles.get(did)
      if (!handle) throw new Error(`no handle of ${did} is known`)
      return { did, handle, signingKey: 'did:key:none', pds: 'https://pds.invalid' }
    },
  },
  handle: { resolve: async (handle) => holders.get(handle) },
}

const db = open(process.argv[2])
const background = new appview.BackgroundQueue(db)
const indexer = new IndexingService(db, idResolver, background)

const KNOWN = new Set(['takendown', 'suspended', 'deleted', 'deactivated'])

const time = (event) => new Date(Math.floor(event.time_us / 1000)).toISOString()

function resolved(did, handle) {
  handles.set(did, handle)
  if (handle !== 'handle.invalid') holders.set(handle, did)
}

async function commit(event) {
  const { operation, collection, rkey, cid, record } = event.commit
  const uri = AtUri.make(event.did, collection, rkey)
  if (operation === 'delete') return indexer.deleteRecord(uri)
  return indexer.indexRecord(uri, parseCid(cid), jsonToLex(record), operation, time(event))
}

// What the subscription does between the network's message and the indexer.
async function account(event) {
  const { active, status } = event.account
  if (status && !KNOWN.has(status)) return
  if (!active && status === 'deleted') return indexer.deleteActor(event.did)
  await indexer.updateActorStatus(event.did, active, status)
}

async function identity(event) {
  if (event.identity.handle) resolved(event.did, event.identity.handle)
  await indexer.indexHandle(event.did, time(event), true)
}

// Our form of the news that a repo is at a revision: the subscription's #sync does the same.
async function repo(event) {
  await indexer.setCommitLastSeen(event.did, parseCid(event.repo.commit), event.repo.rev)
}

// What the subscription does beside each commit: the handle is asked for when it is due. Here it
// comes with the network's answer, which no event tells.
async function refresh(event) {
  resolved(event.did, event.refresh.handle)
  await indexer.indexHandle(event.did, time(event))
}

// The next event is of another network.
async function forget() {
  handles.clear()
  holders.clear()
}

const kinds = { commit, account, identity, repo, refresh, forget }

await answerLines(async (event) => {
  try {
    await kinds[event.kind]?.(event)
    await background.processAll()
    return { accepted: true }
  } catch (error) {
    await background.processAll()
    return { accepted: false, error: String(error.message ?? error).split('\n')[0] }
  }
})
await db.close()
