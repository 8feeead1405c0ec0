/** Durable writes over HTTP, each answered by a signed receipt. */
import { checkWriteBatches, checkWrites } from './checks.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { against, figureOf, load } from './load.ts'
import { batches, type Parties, parties, sealRecords } from './messages.ts'
import { type RelayProcess, withRelay } from './relay-process.ts'

const kib = 1024
const batchSize = 64
const warmUpWrites = 4000

/** Enough operations at each concurrency for a second of server CPU. */
type Rounds = readonly { readonly concurrency: number; readonly count: number }[]

/** Lets a relay's code be compiled before it is measured. */
export async function warmUp(relay: RelayProcess, between: Parties = parties()): Promise<void> {
  const records = await sealRecords({ ...between, relay: relay.key, count: warmUpWrites, bytes: kib })
  checkWrites(records, (await load(relay, records, 64)).answers, relay.key)
}

async function writes(bench: Bench, bytes: number, rounds: Rounds): Promise<Figure[]> {
  return withRelay(bench, {}, async (relay) => {
    const between = parties()
    await warmUp(relay, between)
    const figures: Figure[] = []
    for (const { concurrency, count } of rounds) {
      const records = await sealRecords({ ...between, relay: relay.key, count, bytes })
      const measured = await load(relay, records, concurrency)
      checkWrites(records, measured.answers, relay.key)
      const figure = figureOf(`write ${bytes / kib} KB, concurrency ${concurrency}`, measured)
      const isTarget = bytes === kib && concurrency === 64
      figures.push(isTarget ? against(figure, { micros: 130, perSecond: 5000 }) : figure)
    }
    return figures
  })
}

async function writeBatches(bench: Bench): Promise<Figure[]> {
  return withRelay(bench, {}, async (relay) => {
    const between = parties()
    await warmUp(relay, between)
    const figures: Figure[] = []
    for (const { size, concurrency, count } of [
      { size: 1, concurrency: 1, count: 9_600 },
      { size: 1, concurrency: 8, count: 16_000 },
      { size: 64, concurrency: 2, count: 960 },
    ]) {
      const records = await sealRecords({ ...between, relay: relay.key, count, bytes: size * kib })
      const messages = batches(records, batchSize)
      const measured = await load(relay, messages, concurrency)
      checkWriteBatches(messages, measured.answers, relay.key)
      const what = `write ${size} KB in batches of 64, concurrency ${concurrency}`
      const figure = figureOf(what, measured, batchSize)
      figures.push(concurrency === 8 ? against(figure, { micros: 80 }) : figure)
    }
    return figures
  })
}

export const writeParts: readonly Part[] = [
  {
    name: 'write-1k',
    about: 'durable writes of 1 KB, one by one, at concurrency 1, 8 and 64',
    run: (bench) =>
      writes(bench, kib, [
        { concurrency: 1, count: 2000 },
        { concurrency: 8, count: 5000 },
        { concurrency: 64, count: 16_000 },
      ]),
  },
  {
    name: 'write-64k',
    about: 'durable writes of 64 KB at concurrency 1, 8 and 64',
    run: (bench) =>
      writes(bench, 64 * kib, [
        { concurrency: 1, count: 600 },
        { concurrency: 8, count: 900 },
        { concurrency: 64, count: 900 },
      ]),
  },
  { name: 'write-batch', about: 'durable writes of 1 KB and 64 KB in batches of 64', run: writeBatches },
]
