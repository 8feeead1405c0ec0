/**
 * Fills a store with made-up records of one receiver, directly: over HTTP a million of them would take minutes to seal.
 * Their signatures are noise, which a relay that lists them never looks at. Prints one JSON line.
 */
import { randomBytes } from 'node:crypto'
import { dirname, join } from 'node:path'
import { toHex } from '../market/bytes.ts'
import { freePrices } from '../market/price.ts'
import { formatPath, type SealedRecord } from '../market/record.ts'
import { openOrCreateKeyFile } from '../contracts/wallet/key-file.ts'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { Store } from '../relay/store/store.ts'

const owners = Array.from({ length: 64 }, () => KeyWallet.random().identity)
const ttlSeconds = 30 * 86_400
/** Writes in flight; the committer takes 256 at once. */
const writers = 512
/** How many of the records' times are told, as places to begin a page at. */
const marks = 200

const [directory = '', receiver = '', countText = '', bytesText = ''] = process.argv.slice(2)
const count = Number(countText)
const noise = randomBytes(64 * 1024)

// A relay does not start on a store that lost its key.
await openOrCreateKeyFile(join(dirname(directory), 'relay.key'), {})
const store = await Store.open({ directory, now: Date.now })
const times: number[] = []
let next = 0
const began = performance.now()
await Promise.all(
  Array.from({ length: writers }, async () => {
    for (let index = next++; index < count; index = next++) {
      const record = madeUp(index)
      const written = await store.write(record, () => free(record.expires))
      if (written.outcome !== 'stored') throw new Error(`record ${index}: ${written.outcome}`)
      if (index % Math.ceil(count / marks) === 0) times.push(written.receipt.at)
    }
  }),
)
await store.close()
process.stdout.write(`${JSON.stringify({ times, seconds: (performance.now() - began) / 1000 })}\n`)

function madeUp(index: number): SealedRecord {
  const owner = owners[index % owners.length]!
  const random = toHex(randomBytes(48)) // one call: asking for randomness is what costs
  const recordId = random.slice(0, 32)
  const offset = (index * 97) % (noise.length - Number(bytesText))
  const content = noise.subarray(offset, offset + Number(bytesText))
  const request = {
    content: content.toString('base64'),
    recordId,
    relays: [owner],
    tag: '',
    ttl: ttlSeconds,
    type: 'write' as const,
  }
  const timestamp = Date.now()
  const msg = { from: owner, request, sig: `30${'00'.repeat(69)}`, timestamp, to: receiver }
  return {
    msg,
    text: JSON.stringify({ msg }), // the names above are in canonical order
    hash: random.slice(32),
    path: formatPath({ owner, receiver, recordId }),
    content,
    expires: timestamp + ttlSeconds * 1000,
    maxPulls: 4,
  }
}

function free(paidUntil: number) {
  return { paidUntil, prices: freePrices, purse: 'credit' }
}
