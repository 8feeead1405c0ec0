/** Signed reads of records over HTTP, each a durable pull. */
import { checkReadBatches, checkReads, checkWriteBatches } from './checks.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { against, figureOf, load } from './load.ts'
import { batches, parties, type RecordMessage, sealReads, sealRecords } from './messages.ts'
import { type RelayProcess, withRelay } from './relay-process.ts'
import { warmUp } from './writes.ts'

const kib = 1024
const batchSize = 64
const records1k = 8000
const pullsEach = 4
const warmUpReads = 3000

/** Records that were written, each to be read as often as its owner allowed, in an order unlike that of their writing. */
async function readable(relay: RelayProcess): Promise<RecordMessage[]> {
  const between = parties()
  await warmUp(relay, between)
  const options = { ...between, relay: relay.key, count: records1k, bytes: kib, maxPulls: pullsEach }
  const records = await sealRecords(options)
  const messages = batches(records, batchSize)
  checkWriteBatches(messages, (await load(relay, messages, 8)).answers, relay.key)
  return Array.from({ length: records1k * pullsEach }, (_, index) => records[(index * 4099) % records1k]!)
}

async function reads(bench: Bench): Promise<Figure[]> {
  return withRelay(bench, {}, async (relay) => {
    const wanted = await readable(relay)
    const figures: Figure[] = []
    let done = 0
    for (const [concurrency, count, measures] of [
      [64, warmUpReads, false],
      [1, 6000, true],
      [64, 16_000, true],
    ] as const) {
      const records = wanted.slice(done, done + count)
      done += count
      const measured = await load(relay, await sealReads(records, relay.key), concurrency)
      checkReads(records, measured.answers)
      if (!measures) continue
      const figure = figureOf(`read 1 KB, concurrency ${concurrency}`, measured)
      figures.push(concurrency === 64 ? against(figure, { micros: 90 }) : figure)
    }
    return figures
  })
}

async function readBatches(bench: Bench): Promise<Figure[]> {
  return withRelay(bench, {}, async (relay) => {
    const wanted = await readable(relay)
    let done = 0
    const round = async (count: number) => {
      const records = wanted.slice(done, done + count)
      done += count
      const messages = batches(await sealReads(records, relay.key), batchSize)
      const measured = await load(relay, messages, 8)
      checkReadBatches(messages, records, { answers: measured.answers, relay: relay.key })
      return measured
    }
    await round(64 * batchSize)
    const measured = await round(300 * batchSize)
    return [figureOf('read 1 KB in batches of 64, concurrency 8', measured, batchSize)]
  })
}

export const readParts: readonly Part[] = [
  { name: 'read', about: 'signed reads of 1 KB records, each a durable pull', run: reads },
  { name: 'read-batch', about: 'the same in batches of 64', run: readBatches },
]
