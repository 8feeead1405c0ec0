/** What accounts cost: the same load on a relay that sells and on one that does not, by turns, so that both meet the same machine. */
import { join } from 'node:path'
import { control } from '../relay/operator/control.ts'
import { checkReads, checkWrites } from './checks.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { type Load, load } from './load.ts'
import { type Parties, parties, type RecordMessage, sealReads, sealRecords } from './messages.ts'
import { type RelayProcess, withFolder, withRelay } from './relay-process.ts'
import { warmUp } from './writes.ts'

const kib = 1024
const concurrency = 64
const rounds = 5
const perRound = 4000
const prices = ['--price', 'storageGBDay=4000', '--price', 'egressGB=100000', '--price', 'ingressGB=1000']
const mostPercent = 15

interface Side {
  readonly relay: RelayProcess
  readonly between: Parties
  writeMicros: number
  readMicros: number
}

async function metered(bench: Bench): Promise<Figure[]> {
  return withFolder((data) =>
    withRelay(bench, { data, args: prices }, (selling) =>
      withRelay(bench, {}, async (free) => {
        const sides = [await sideOf(selling), await sideOf(free)] as const
        const file = join(data, 'control.json')
        for (const { identity } of sides[0].between.owners)
          await control(file, 'grant', { key: identity, satoshi: 1_000_000_000 })
        for (const { relay, between } of sides) await warmUp(relay, between)
        for (let round = 0; round < rounds; round++) {
          // Who begins changes, since the one who does finds the machine cooler.
          for (const side of round % 2 === 0 ? sides : [...sides].reverse()) await measure(side)
          bench.note(`round ${round + 1} of ${rounds}`)
        }
        const [sold, given] = sides
        return [
          compared('write 1 KB', sold.writeMicros, given.writeMicros),
          compared('read 1 KB', sold.readMicros, given.readMicros),
        ]
      }),
    ),
  )
}

const sideOf = async (relay: RelayProcess): Promise<Side> => ({
  relay,
  between: parties(),
  writeMicros: 0,
  readMicros: 0,
})

async function measure(side: Side): Promise<void> {
  const { relay, between } = side
  const records = await sealRecords({ ...between, relay: relay.key, count: perRound, bytes: kib })
  const written = await load(relay, records, concurrency)
  checkWrites(records, written.answers, relay.key)
  side.writeMicros += written.cpuMicros
  side.readMicros += (await read(relay, records)).cpuMicros
}

async function read(relay: RelayProcess, records: readonly RecordMessage[]): Promise<Load> {
  const measured = await load(relay, await sealReads(records, relay.key), concurrency)
  checkReads(records, measured.answers)
  return measured
}

function compared(what: string, soldMicros: number, givenMicros: number): Figure {
  const operations = rounds * perRound
  const percent = (soldMicros / givenMicros - 1) * 100
  return {
    what: `metered ${what}, ${(givenMicros / operations).toFixed(0)} µs unmetered`,
    value: { amount: percent, unit: '%' },
    operations,
    cpuMicros: soldMicros / operations,
    cpuTotalMs: soldMicros / 1000,
    target: { text: `≤ ${mostPercent} %`, met: percent <= mostPercent },
  }
}

export const meteredParts: readonly Part[] = [
  {
    name: 'metered',
    about: 'durable writes and reads where the relay sells, beside one that does not',
    run: metered,
  },
]
