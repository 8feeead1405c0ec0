/**
 * Writes, reads and deletes at random against a relay that sells and is killed at random; after each death its books are checked,
 * after each restart it is held against a model in memory. Then lives of a ledger (test/fixtures/ledger-life/run.ts). The seed
 * decides what is done, the machine when.
 */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { reach } from '../../relay/operator/reach.ts'
import { type Dice, diceOf } from '../fixtures/dice.ts'
import { runLedger } from '../fixtures/ledger-life/run.ts'
import { type RelayProcess, spawnRelay } from '../fixtures/relay.ts'
import { actor } from '../fixtures/wire.ts'
import { Lane } from './lane.ts'

const program = [fileURLToPath(new URL('../../relay/main.js', import.meta.url))]
const answersPerLife = 600

/** Every newcomer gets enough for all he will do. */
const selling = [
  ...['--price', 'storageGBDay=4000', '--price', 'egressGB=100000', '--price', 'ingressGB=1000'],
  ...['--grant-new', '1000000000', '--limit', 'newcomersPerAddressPerDay=1000000'],
]
const stepsPerLife = 20_000
/** However short the time. */
const leastLives = 5

/** Starts the relay; one time in four it is killed while it starts, or soon after, and started again. */
async function restart(data: string, dice: Dice): Promise<RelayProcess> {
  if (dice(4) === 0) {
    const command = ['timeout', '-s', 'KILL', `${0.2 + dice(40) / 100}`]
    const started = await spawnRelay(data, { program, command, args: selling }).catch(() => undefined)
    const { exitCode, signalCode } = started?.child ?? { exitCode: 0, signalCode: null }
    if (started !== undefined && exitCode === null && signalCode === null) await once(started.child, 'exit')
  }
  return spawnRelay(data, { program, args: selling })
}

async function explore(data: string, dice: Dice, seconds: number): Promise<string> {
  const end = Date.now() + seconds * 1000
  const receivers = [actor(), actor()]
  const counts = { answers: 0, kills: 0, stops: 0 }
  let relay = await restart(data, dice)
  let ending: Promise<unknown> | undefined
  let left = 0
  const answered = () => {
    counts.answers++
    if (--left !== 0) return
    const kill = dice(5) > 0
    if (kill) counts.kills++
    else counts.stops++
    ending = relay.kill(kill ? 'SIGKILL' : 'SIGTERM')
  }
  const lanes = Array.from({ length: 4 }, () => new Lane(dice, receivers, answered))
  try {
    while (Date.now() < end) {
      ending = undefined
      left = 1 + dice(answersPerLife)
      const live = async (lane: Lane) => {
        while (ending === undefined) await lane.step(relay)
      }
      await Promise.all(lanes.map(live))
      await ending
      await checkBooks(data)
      relay = await restart(data, dice)
      for (const lane of lanes) {
        lane.forgetRepeats()
        await lane.check(relay)
      }
    }
  } finally {
    ending = relay.kill('SIGKILL') // which also ends the lanes that were not to blame
    await ending
  }
  return `${counts.answers} answers, ${counts.kills} kills, ${counts.stops} stops: the relay kept its word`
}

/** @throws when the books of a relay that is not running do not agree */
async function checkBooks(data: string): Promise<void> {
  const relay = await reach(data, new AbortController().signal)
  try {
    const { ok, differences } = await relay.send('check', {})
    if (!ok) throw new Error(`the books do not agree: ${differences.join('; ')}`)
  } finally {
    await relay.close()
  }
}

async function exploreLedgers(folder: string, seed: number, seconds: number): Promise<string> {
  const end = Date.now() + seconds * 1000
  let lives = 0
  do {
    const directory = join(folder, `life-${lives}`)
    await runLedger({ seed: seed + lives, steps: stepsPerLife, directory })
    rmSync(directory, { recursive: true, force: true })
    lives++
  } while (lives < leastLives || Date.now() < end)
  return `${lives} ledgers of ${stepsPerLife} steps: every satoshi explained`
}

/** Two thirds of the time for relays, the rest, or what 100 000 steps take, for ledgers. @throws when the relay broke its word; the store stays there then */
export async function exploreStore(
  seed: number,
  seconds: number,
  print: (line: string) => void,
): Promise<void> {
  const data = mkdtempSync(join(tmpdir(), 'relay-explore-'))
  try {
    const relays = await explore(join(data, 'relay'), diceOf(seed), (seconds * 2) / 3)
    print(`seed ${seed}: ${relays}`)
    print(`seed ${seed}: ${await exploreLedgers(data, seed, seconds / 3)}`)
  } catch (cause) {
    throw new Error(`seed ${seed}: ${(cause as Error).message}; the store is in ${data}`, { cause })
  }
  rmSync(data, { recursive: true, force: true })
}
