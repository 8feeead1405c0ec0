/** What a person with many friends waits for: the news of all of them, and news despite a relay that has just died. */
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { Client, type Message } from '../client/index.ts'
import { Key } from '../market/units.ts'
import { type Bench, type Figure, type Part, percentile } from './figures.ts'
import { type RelayProcess, withFolder, withProgram, withRelay } from './relay-process.ts'

const sizes = { friends: 100, relays: 20 } as const
/** Each friend is on two relays, so far apart that no two relays have the same friends. */
const secondRelay = 7
const made = 10
/** Relays that die, for each way to read. */
const deaths = 5
/** A relay makes its page of figures no more often. */
const pageMs = 1100
/** Longer than any honest recovery. */
const recoveryMs = 30_000

interface Relay {
  readonly url: string
  readonly key: Key
}
const ManyRelays = z.object({ relays: z.array(z.object({ url: z.url(), key: Key, metricsUrl: z.url() })) })
const manyRelays = fileURLToPath(new URL('relays.js', import.meta.url))

async function friends(bench: Bench): Promise<Figure[]> {
  return withFolder((folder) =>
    withProgram([manyRelays, folder, String(sizes.relays)], ManyRelays, async ({ relays }, server) => {
      bench.note(`${sizes.friends} friends on ${sizes.relays} relays`)
      const reader = await personOn([relays[0]!], join(folder, 'reader')) // there are 20
      await crowd(relays, reader, folder)
      const requests = () => answered(relays.map(({ metricsUrl }) => metricsUrl))
      const pullAll = async (what: string, expected: number): Promise<Figure[]> => {
        const [asked, ownCpu, serverCpu] = [await requests(), process.cpuUsage(), server.cpuMicros()]
        const { done, ms } = await timed(() => reader.pull())
        const { user, system } = process.cpuUsage(ownCpu)
        const cpuTotalMs = (server.cpuMicros() - serverCpu) / 1000
        if (done.messages.length !== expected || done.failures.length > 0)
          throw new Error(
            `${done.messages.length} of ${expected} records came, ${done.failures.length} failed`,
          )
        const ofEach = { operations: sizes.friends, opsPerSecond: (sizes.friends / ms) * 1000 }
        const cpuMicros = (cpuTotalMs * 1000) / sizes.friends
        const whole = { amount: ms / 1000, unit: 's' }
        const own = (user + system) / 1000 / sizes.friends
        return [
          { what: `friends: pull, ${what}`, ...ofEach, cpuMicros, cpuTotalMs, value: whole },
          { what: `friends: pull, ${what}: reader's CPU a friend`, value: { amount: own, unit: 'ms' } },
          {
            what: `friends: pull, ${what}: requests`,
            value: { amount: (await requests()) - asked, unit: '' },
          },
        ]
      }
      const first = await pullAll('a record of each', sizes.friends)
      return [...first, ...(await pullAll('nothing new', 0))]
    }),
  )
}

/** Gives `reader` his friends, each of whom has a record for him on both of his own relays. */
async function crowd(relays: readonly Relay[], reader: Client, folder: string): Promise<void> {
  const people: Client[] = []
  for (let first = 0; first < sizes.friends; first += made) {
    const some = Array.from({ length: made }, async (_, index) => {
      const place = first + index
      const own = [place, place + secondRelay].map((at) => relays[at % relays.length]!) // modulo their number
      const one = await personOn(own, join(folder, `friend-${place}`))
      const { accepted } = await one.send(reader.identity, `from friend ${place}`)
      if (accepted.length !== own.length)
        throw new Error(`friend ${place} has it on ${accepted.length} relays`)
      return one
    })
    people.push(...(await Promise.all(some)))
  }
  for (const one of people) await reader.addFriend((await one.me()).text)
}

/** Signed requests that relays have answered so far. */
async function answered(pages: readonly string[]): Promise<number> {
  await sleep(pageMs)
  const all = pages.map(async (url) => {
    const lines = (await (await fetch(url)).text()).split('\n')
    const counts = lines.filter((line) => line.startsWith('relay_requests_total{'))
    return counts.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
  })
  return (await Promise.all(all)).reduce((sum, count) => sum + count, 0)
}

async function recovery(bench: Bench): Promise<Figure[]> {
  return withFolder((folder) =>
    withRelay(bench, { data: join(folder, 'surviving') }, async (surviving) => {
      const rounds = async (name: string, round: (scene: Scene) => Promise<number>) => {
        bench.note(`${deaths} relays die under a reader who ${name}s`)
        const times: number[] = []
        for (let death = 0; death < deaths; death++) {
          const at = join(folder, `${name}-${death}`)
          const data = join(at, 'relay')
          times.push(
            await withRelay(bench, { data }, async (mortal) =>
              round({ mortal, ...(await twoOn([mortal, surviving], at)) }),
            ),
          )
        }
        return { p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99) }
      }
      const pulled = await rounds('pull', whilePulling)
      const heard = await rounds('listen', whileListening)
      return [
        { what: 'friends: a relay dies: record by pull', operations: deaths, ...pulled },
        { what: 'friends: a relay dies: record by listening', operations: deaths, ...heard },
      ]
    }),
  )
}

/** Alice has records for Bob on a relay that is about to die, and on another. */
interface Scene {
  readonly mortal: RelayProcess
  readonly alice: Client
  readonly bob: Client
}

/** What both relays have, the dead one was to give. @returns ms from its death until it is there */
async function whilePulling({ mortal, alice, bob }: Scene): Promise<number> {
  const { accepted } = await alice.send(bob.identity, 'on both')
  if (accepted.length !== 2) throw new Error(`${accepted.length} relays have it`)
  const died = await deathOf(mortal)
  let hereMs: number | undefined
  await bob.pull({
    attempts: 1,
    onMessage: () => {
      hereMs ??= performance.now() - died
    },
  })
  if (hereMs === undefined) throw new Error('nothing came')
  return hereMs
}

/** Bob hears from both; Alice writes as soon as one is dead, so that her recovery counts as well as his. */
async function whileListening({ mortal, alice, bob }: Scene): Promise<number> {
  const over = new AbortController()
  const live = new Set<string>()
  let changed = () => {}
  let heard: Message | undefined
  const until = (what: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error('Bob hears nothing')), recoveryMs)
      changed = () => {
        if (!what()) return
        clearTimeout(late)
        resolve()
      }
      changed()
    })
  const listening = bob.listen({
    signal: over.signal,
    onLive: (relay) => {
      live.add(relay)
      changed()
    },
    onMessage: (message) => {
      heard = message
      changed()
    },
  })
  try {
    await until(() => live.size === 2)
    const died = await deathOf(mortal)
    const sending = alice.send(bob.identity, 'after it', { attempts: 1 })
    await until(() => heard !== undefined)
    const hereMs = performance.now() - died
    await sending
    return hereMs
  } finally {
    over.abort()
    await listening
  }
}

/** @returns when it was killed; resolves once it is gone */
async function deathOf(relay: RelayProcess): Promise<number> {
  const died = performance.now()
  await relay.kill()
  return died
}

async function twoOn(relays: readonly Relay[], folder: string): Promise<{ alice: Client; bob: Client }> {
  const [alice, bob] = [
    await personOn(relays, join(folder, 'alice')),
    await personOn(relays, join(folder, 'bob')),
  ]
  await alice.addFriend((await bob.me()).text)
  await bob.addFriend((await alice.me()).text)
  return { alice, bob }
}

const personOn = (relays: readonly Relay[], home: string): Promise<Client> =>
  Client.init(home, { label: basename(home), relays: relays.map(({ url, key }) => `${url}#${key}`) })

async function timed<T>(work: () => Promise<T>): Promise<{ done: T; ms: number }> {
  const began = performance.now()
  const done = await work()
  return { done, ms: performance.now() - began }
}

export const friendParts: readonly Part[] = [
  {
    name: 'friends',
    about: 'the news of 100 friends on 20 relays; a reader whose relay dies',
    run: async (bench) => [...(await friends(bench)), ...(await recovery(bench))],
  },
]
