/** The check of the books (relay/ledger/check/check.ts) over a million entries: how long it takes, and how much memory. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { toHex } from '../market/bytes.ts'
import { sha256Hex } from '../market/hash.ts'
import { dayMs, protocolLimits } from '../market/units.ts'
import { formatPath } from '../market/record.ts'
import { checkLedger } from '../relay/ledger/check/check.ts'
import { bookReceived } from '../relay/store/ledger.ts'
import { Store } from '../relay/store/store.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { runChild, withFolder } from './relay-process.ts'

const mega = 1e6
const Checked = z.object({
  entries: z.int(),
  seconds: z.number(),
  cpuSeconds: z.number(),
  peakBytes: z.number(),
})
/** Records are written, pulled so many times, and one in four is deleted. */
const pullsOfRecord = 8
const entriesOfRecord = 1 + pullsOfRecord + 1 / 4
const owners = Array.from({ length: 64 }, () => `02${toHex(randomBytes(32))}`)
const receiver = `02${toHex(randomBytes(32))}`
const contentBytes = 256
const writers = 512
const prices = { storageGBDay: 4000, egressGB: 100_000, ingressGB: 20_000 }
const ttlMs = 30 * dayMs

/** What the books of a long year look like, made through the store itself. */
async function fill(directory: string, entries: number): Promise<void> {
  const store = await Store.open({ directory, now: Date.now })
  const satoshi = 100_000_000
  for (const owner of owners)
    await store.commit((batch) => bookReceived(batch, { owner, purse: 'grant', satoshi, note: 'bench' }))
  let left = Math.ceil(entries / entriesOfRecord)
  await Promise.all(
    Array.from({ length: writers }, async () => {
      while (left-- > 0) await live(store, left)
    }),
  )
  await store.close()
}

/** The life of one record. */
async function live(store: Store, index: number): Promise<void> {
  const owner = owners[index % owners.length]!
  const { record, path } = madeUp(owner)
  const terms = { purse: 'grant', prices, paidUntil: record.expires }
  const { outcome } = await store.write(record, () => terms)
  if (outcome !== 'stored') throw new Error(`record ${index}: ${outcome}`)
  const until = Date.now() + protocolLimits.freshPastMs
  for (let pull = 0; pull < pullsOfRecord; pull++) {
    const [before, after] = [`"nonce":${pull},"path":"${formatPath(path)}"`, `"timestamp":${until}`]
    const hash = sha256Hex(`{${before},${after}}`)
    // As long as a signed read is.
    const text = `{"msg":{${before},"sig":"${hash.repeat(5)}",${after}}}`
    const read = await store.read({ path, hash, until, text })
    if (read.outcome !== 'record') throw new Error(`read ${index}: ${read.outcome}`)
  }
  if (index % 4 === 0)
    await store.delete({ owner, recordId: path.recordId, until, hash: toHex(randomBytes(32)) })
}

function madeUp(owner: string) {
  const content = randomBytes(contentBytes)
  const recordId = toHex(randomBytes(16))
  const timestamp = Date.now()
  const relays = [owner]
  const request = { content: content.toString('base64'), recordId, relays, tag: '', ttl: ttlMs / 1000 }
  const sig = `30${'00'.repeat(69)}`
  const msg = { from: owner, request: { ...request, type: 'write' as const }, sig, timestamp, to: receiver }
  const path = { owner, receiver, recordId }
  const facts = { hash: toHex(randomBytes(32)), path: formatPath(path), content, maxPulls: pullsOfRecord + 1 }
  return { path, record: { msg, text: JSON.stringify({ msg }), expires: timestamp + ttlMs, ...facts } }
}

async function check(directory: string): Promise<z.infer<typeof Checked>> {
  const store = await Store.open({ directory, now: Date.now })
  const snapshot = store.snapshot()
  // Of JavaScript alone: what a process maps of the database's files is no memory anybody lacks.
  let peakBytes = 0
  const sampler = setInterval(() => {
    const { heapTotal, external } = process.memoryUsage()
    peakBytes = Math.max(peakBytes, heapTotal + external)
  }, 20)
  const began = performance.now()
  const before = process.cpuUsage()
  const signal = new AbortController().signal
  const report = await checkLedger(snapshot, { now: Date.now(), signal })
  if (!report.ok) throw new Error(report.differences[0])
  const { user, system } = process.cpuUsage(before)
  const seconds = (performance.now() - began) / 1000
  await snapshot.close()
  await store.close()
  clearInterval(sampler)
  return { entries: report.entries, seconds, cpuSeconds: (user + system) / mega, peakBytes }
}

async function measure(bench: Bench): Promise<Figure[]> {
  const self = fileURLToPath(import.meta.url)
  return withFolder(async (data) => {
    const directory = join(data, 'store')
    const entries = bench.full ? mega : mega / 4
    bench.note(`filling a ledger with ${entries} entries`)
    await runChild(self, ['fill', directory, String(entries)])
    const [line = ''] = await runChild(self, ['check', directory])
    const checked = Checked.parse(JSON.parse(line))
    const perMillion = (checked.seconds * mega) / checked.entries
    const peak = checked.peakBytes / mega
    return [
      {
        what: `check of ${checked.entries} entries, per million`,
        value: { amount: perMillion, unit: 's' },
        target: { text: '< 30 s', met: perMillion < 30 },
      },
      { what: 'CPU of that', value: { amount: (checked.cpuSeconds * mega) / checked.entries, unit: 's' } },
      {
        what: 'its memory at the most',
        value: { amount: peak, unit: 'MB' },
        target: { text: '< 300 MB', met: peak < 300 },
      },
    ]
  })
}

export const ledgerParts: readonly Part[] = [
  {
    name: 'ledger',
    about: 'the check of the books over 250 k entries (1 M with --full)',
    run: measure,
  },
]

const [, program, task, directory = '', entries = ''] = process.argv
if (program === fileURLToPath(import.meta.url)) {
  if (task === 'fill') await fill(directory, Number(entries))
  if (task === 'check') process.stdout.write(`${JSON.stringify(await check(directory))}\n`)
}
