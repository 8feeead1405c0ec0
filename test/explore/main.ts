/**
 * Writes, reads and deletes at random, kills the relay at random, and holds it against a model in memory after each restart:
 * `npm run explore -- [--seed N] [--seconds N]`. The seed decides what is done, the machine when. Exit code 1 and the seed
 * when the relay broke its word.
 */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type RelayProcess, spawnRelay } from '../fixtures/relay.ts'
import { actor } from '../fixtures/wire.ts'
import { type Dice, Lane } from './lane.ts'

const program = [fileURLToPath(new URL('../../relay/main.js', import.meta.url))]
const answersPerLife = 600

/** Numbers that follow from a seed (mulberry32). */
function diceOf(seed: number): Dice {
  let state = seed
  return (sides) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % sides
  }
}

/** Starts the relay; one time in four it is killed while it starts, or soon after, and started again. */
async function restart(data: string, dice: Dice): Promise<RelayProcess> {
  if (dice(4) === 0) {
    const command = ['timeout', '-s', 'KILL', `${0.2 + dice(40) / 100}`]
    const started = await spawnRelay(data, { program, command }).catch(() => undefined)
    const { exitCode, signalCode } = started?.child ?? { exitCode: 0, signalCode: null }
    if (started !== undefined && exitCode === null && signalCode === null) await once(started.child, 'exit')
  }
  return spawnRelay(data, { program })
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

async function main(): Promise<number> {
  const options = { seed: { type: 'string' }, seconds: { type: 'string', default: '60' } } as const
  const { values } = parseArgs({ options })
  const seed = Number(values.seed ?? Date.now() % 1_000_000)
  const data = mkdtempSync(join(tmpdir(), 'relay-explore-'))
  try {
    const summary = await explore(data, diceOf(seed), Number(values.seconds))
    process.stdout.write(`seed ${seed}: ${summary}\n`)
    rmSync(data, { recursive: true, force: true })
    return 0
  } catch (error) {
    process.stdout.write(`seed ${seed}: ${(error as Error).stack}\nthe store is in ${data}\n`)
    return 1
  }
}

process.exitCode = await main()
