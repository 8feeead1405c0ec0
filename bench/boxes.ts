/** Message boxes over HTTP and live: what a message costs, and what those who only wait cost the others. */
import { randomBytes } from 'node:crypto'
import { Client, load } from './auth.ts'
import { type Bench, type Figure, type Part, percentile } from './figures.ts'
import { LiveClient } from './live-client.ts'
import { type RelayProcess, withRelay } from './relay-process.ts'

/** What the server that today's clients know costs on the machine of the targets, CPU ms per operation. */
const incumbent = {
  send: 4.9,
  list: { 10: 6, 1000: 110, 10000: 1100 },
  acknowledge: 5,
  live: { 0: 8.7, 100: 187 },
}
const sendMicros = 350
const clients = 8
/** Until the code that sends is compiled: a relay runs for longer than a bench. */
const warmUp = 4000
const boxes = [10, 1000, 10_000] as const
const page = 1000
const acknowledged = 2000
const pairs = 8
const livePerPair = 250
const idleSteps = [0, 100, 1000] as const
const openedAtOnce = 50
const limits = [
  'connectionsPerAddress=20000',
  'boxMessages=1000000',
  'boxSent=1000000',
  'boxRequestsPerMinute=1000000',
]
const json = (fields: object) => Buffer.from(JSON.stringify(fields))
const text = () => randomBytes(512).toString('hex')

async function overHttp(bench: Bench): Promise<Figure[]> {
  return withRelay(bench, { args: ['--open-boxes'], limits }, async (relay) => {
    const senders = await Promise.all(Array.from({ length: clients }, () => new Client().open(relay)))
    const recipients = await Promise.all(boxes.map(() => new Client().open(relay)))
    const sends = (to: Client, count: number, box = 'inbox') =>
      Array.from({ length: count }, (_, at) => {
        const message = {
          recipient: to.wallet.identity,
          messageBox: box,
          messageId: `${box}${at}`,
          body: text(),
        }
        return senders[at % clients]!.ask(relay, at, {
          method: 'POST',
          path: '/sendMessage',
          body: json({ message }),
        })
      })
    await load(relay, 'warm-up', sends(recipients[0]!, warmUp, 'warm'))
    const [few, some, most] = boxes.map((count, at) => sends(recipients[at]!, count))
    await load(relay, 'fill', [...few!, ...some!])
    bench.note('sends')
    const sent = await load(relay, beside('send of 1 KB', incumbent.send), most!)
    const met = sent.cpuMicros <= sendMicros
    const figures: Figure[] = [{ ...sent, target: { text: `≤ ${sendMicros} µs`, met, micros: sendMicros } }]
    for (const [at, count] of boxes.entries()) {
      bench.note(`lists ${count}`)
      const pages = Math.ceil(count / page)
      const listings = Math.max(2, Math.min(200, Math.ceil(20_000 / count)))
      const asked = Array.from({ length: listings * pages }, (_, place) => {
        const body = json({ messageBox: 'inbox', offset: (place % pages) * page })
        return recipients[at]!.ask(relay, place, { method: 'POST', path: '/listMessages', body })
      })
      const listed = await load(
        relay,
        beside(`list of ${count}, in pages of ${page}`, incumbent.list[count]),
        asked,
      )
      const cpuMicros = listed.cpuMicros * pages
      figures.push({
        ...listed,
        operations: listings,
        opsPerSecond: (listed.opsPerSecond ?? 0) / pages,
        cpuMicros,
      })
    }
    const ends = Array.from({ length: acknowledged }, (_, at) => {
      const body = json({ messageIds: [`inbox${at}`] })
      return recipients.at(-1)!.ask(relay, at, { method: 'POST', path: '/acknowledgeMessage', body })
    })
    return [...figures, await load(relay, beside('acknowledge', incumbent.acknowledge), ends)]
  })
}

async function live(bench: Bench): Promise<Figure[]> {
  return withRelay(bench, { args: ['--open-boxes'], limits }, async (relay) => {
    const open = (count: number) => openClients(relay, count)
    const talking = await open(2 * pairs)
    const figures: Figure[] = []
    const idle: LiveClient[] = []
    await deliveries(relay, talking, 'warm-up')
    for (const count of idleSteps) {
      bench.note(`${count} idle clients`)
      idle.push(...(await open(count - idle.length)))
      const what = `live, send → heard, ${count} others idle`
      const known = (incumbent.live as Record<number, number>)[count]
      figures.push(await deliveries(relay, talking, known === undefined ? what : beside(what, known)))
    }
    const lost = idle.filter(({ isOpen }) => !isOpen).length
    if (lost > 0) throw new Error(`${lost} idle clients were cut off`)
    for (const each of [...talking, ...idle]) each.close()
    const [alone, , crowded] = figures
    const ratio = crowded!.cpuMicros! / alone!.cpuMicros!
    const target = { text: 'as if they were not there, ± 25 %', met: ratio < 1.25 }
    return [...figures.slice(0, -1), { ...crowded!, target }]
  })
}

/** Each of `pairs` sends a message when the last was heard. */
async function deliveries(
  relay: RelayProcess,
  talking: readonly LiveClient[],
  what: string,
): Promise<Figure> {
  const latencies: number[] = []
  const talk = async (from: LiveClient, to: LiveClient): Promise<void> => {
    const room = `${to.wallet.identity}-inbox`
    for (let at = 0; at < livePerPair; at++) {
      const heard = Promise.all([to.heard(`sendMessage-${room}`), from.heard(`sendMessageAck-${room}`)])
      const began = performance.now()
      const message = {
        messageId: randomBytes(16).toString('hex'),
        recipient: to.wallet.identity,
        body: text(),
      }
      from.emit('sendMessage', { roomId: room, message })
      await heard
      latencies.push(performance.now() - began)
    }
  }
  const before = relay.cpuMicros()
  const began = performance.now()
  await Promise.all(Array.from({ length: pairs }, (_, at) => talk(talking[2 * at]!, talking[2 * at + 1]!)))
  const wallMs = performance.now() - began
  const cpuMicros = relay.cpuMicros() - before
  const operations = latencies.length
  return {
    ...{ what, operations, opsPerSecond: (operations / wallMs) * 1000 },
    ...{ cpuMicros: cpuMicros / operations, cpuTotalMs: cpuMicros / 1000 },
    ...{ p50Ms: percentile(latencies, 0.5), p99Ms: percentile(latencies, 0.99) },
  }
}

async function openClients(relay: RelayProcess, count: number): Promise<LiveClient[]> {
  const opened: LiveClient[] = []
  let left = count
  const lane = async (): Promise<void> => {
    while (left-- > 0) opened.push(await new LiveClient(relay, left).open())
  }
  await Promise.all(Array.from({ length: openedAtOnce }, lane))
  return opened
}

const beside = (what: string, ms: number): string => `${what} (incumbent ${ms} ms)`

export const boxParts: readonly Part[] = [
  { name: 'boxes', about: 'message boxes: send, list, acknowledge over HTTP', run: overHttp },
  { name: 'boxes-live', about: 'live message boxes with 0, 100 and 1000 idle clients', run: live },
]
