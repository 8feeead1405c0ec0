/** The story of the market: five relays advertise by board, overlay and file; one user chooses three and uses them; one gets busy. */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type Devnet, withDevnet } from './coins.ts'
import { contractsAt, fundStake, heardBy } from './contracting.ts'
import { befriend, settle, textsOf } from './friends.ts'
import { check, type Line, type Person, type RelayServer, type Stage } from './stage.ts'

/** Work of the stamps: a tenth of what is usual, so that five of them are made in a moment. */
const bits = '16'
/** Satoshi for a GB and day, and for a GB in or out, of the five. */
const asks = [160_000, 200_000, 240_000, 180_000, 900_000] as const
const perGigabyte = 10
const relayCoins = 200_000
const given = 300_000
/** A month of all three, and each contract. */
const [monthly, contractBudget] = [15_000, 20_000]
const usage = ['--records', '5', '--bytes', '4kB', '--ttl', '7d', '--pulls', '1']
/** What the busy one has to sell, and what somebody fills it with. */
const [capacity, fillBytes, fillCredit] = ['30MB', 18_000_000, 1_000_000]
const later = 20 * 60
const askedEveryMs = 200

interface Scene {
  readonly stage: Stage
  readonly devnet: Devnet
  readonly paper: string
  readonly alice: Person
  readonly bob: Person
  relays: RelayServer[]
}

export async function choosing(stage: Stage): Promise<void> {
  await withDevnet(async (devnet) => {
    const paper = join(stage.folder, 'adverts.txt')
    stage.title('Five relays advertise')
    stage.say(`Each stamps its advert with ${bits} bits of work; 20 are usual, a second or two of one core.`)
    const relays = await advertise(stage, devnet, paper)
    stage.say('The same bytes travel by IRC too (irc://host/channel); this demo installs no server for it.')
    const bobs = await stage.startRelay('bobs-relay', { options: ['--open', '--no-board'] })
    const [alice, bob] = [stage.person('Alice'), await settle(stage, 'Bob', bobs)]
    await stage.run(alice, 'init', '--label', 'Alice')
    await stage.run(alice, 'wallet', 'faucet', String(given), '--chain', devnet.named)
    await devnet.mine(1)
    await befriend(stage, alice, bob)
    await befriend(stage, bob, alice)
    const scene = { stage, devnet, paper, alice, bob, relays }
    await choose(scene)
    await use(scene)
    await busy(scene)
    stage.title(`Done in ${stage.seconds.toFixed(1)} s`)
  })
}

/** One to its own board, one to that of the first, one to a file, one to its own overlay, one to that of the fourth. */
async function advertise(stage: Stage, devnet: Devnet, paper: string): Promise<RelayServer[]> {
  const [one, three, four] = await Promise.all([
    sell(stage, devnet, { index: 0, channel: 'board:self' }),
    sell(stage, devnet, { index: 2, channel: `file:${paper}` }),
    sell(stage, devnet, { index: 3, channel: 'overlay:self' }),
  ])
  const [two, five] = await Promise.all([
    sell(stage, devnet, { index: 1, channel: `board:${one.url}` }),
    sell(stage, devnet, { index: 4, channel: `overlay:${four.url}` }),
  ])
  // A token on an overlay takes coins; what had to wait for them is done now.
  for (const relay of [four, five]) await stage.operate(relay.name, 'advert', 'publish')
  return [one, two, three, four, five]
}

const nameOf = (index: number): string => `relay-${index + 1}`

function optionsOf(devnet: Devnet, { index, channel }: { index: number; channel: string }): string[] {
  const ask = asks[index]! // there are five
  const prices = [`storageGBDay=${ask}`, `egressGB=${perGigabyte * ask}`, `ingressGB=${perGigabyte * ask}`]
  const auto = [`diskCost=100000`, 'bandwidth=100', `trafficCost=${perGigabyte * ask}`, 'every=15', 'step=50']
  const rule = index === 0 ? [...auto.flatMap((one) => ['--auto-price', one]), '--capacity', capacity] : []
  return [
    ...['--chain', devnet.named, '--contract', 'poolSize=1', '--limit', `advertBits=${bits}`],
    ...['--advertise', channel, ...rule, ...prices.flatMap((price) => ['--price', price])],
  ]
}

/** It sells, and its stake lies ready. */
async function sell(
  stage: Stage,
  devnet: Devnet,
  about: { index: number; channel: string },
): Promise<RelayServer> {
  const name = nameOf(about.index)
  const relay = await stage.startRelay(name, {
    options: optionsOf(devnet, about),
    isWatchful: true,
    isQuiet: true,
  })
  stage.say(
    `$ relayd start --data ${name} --advertise ${about.channel} --price storageGBDay=${asks[about.index]} …`,
  )
  await fundStake(stage, devnet, relay, relayCoins)
  return relay
}

/** She reads three channels, sees what each relay would cost her, and takes three within her budget. */
async function choose({ stage, devnet, alice, paper, relays }: Scene): Promise<void> {
  stage.title('Alice looks around, and chooses')
  for (const channel of [`board:${relays[0]!.url}`, `overlay:${relays[3]!.url}`, `file:${paper}`])
    await stage.run(alice, 'market', 'channels', 'add', channel)
  const found = await eventually(
    () => stage.run(alice, 'market', 'list', '--bits', bits, ...usage),
    (lines) => lines.filter(({ event }) => event === 'relay').length === relays.length,
  )
  const channels = found.filter(({ event }) => event === 'channel')
  stage.say(
    `Alice  $ relay market list   → ${channels.map(({ channel, texts }) => `${texts} on ${String(channel).split(':')[0]}`).join(', ')}`,
  )
  await stage.show(alice, 'market', 'simulate', '--offline', '--bits', bits, ...usage)
  const words = ['market', 'choose', '--relays', '3', '--budget', String(monthly), '--open']
  const order = [...words, '--contract', String(contractBudget), '--bits', bits, ...usage, '--yes']
  const lines = await stage.run(alice, ...order)
  const choice = lines.find(({ event }) => event === 'choice')
  const taken = lines.filter(({ event }) => event === 'taken')
  check(taken.length === 3 && taken.every(({ isRefused }) => isRefused === false), 'three to be taken')
  check(Number(choice?.satoshis) <= monthly, 'three within the budget')
  check(
    taken.every(({ relay }) => relay !== relays[4]!.key),
    'the dear one not to be among them',
  )
  stage.say(`Alice  $ relay ${words.join(' ')}`)
  for (const { url, contract } of taken)
    stage.say(
      `       → ${String(url)}: a contract of ${(contract as Line).budget} satoshi, ${(contract as Line).state}`,
    )
  stage.say(
    `       together ${choice?.satoshis} satoshi a month of ${monthly}; each contract was asked about by its numbers`,
  )
  await devnet.mine(6)
  for (const relay of relays.filter(({ key }) => taken.some((one) => one.relay === key)))
    await heardBy(stage, relay, (all) => all.some(({ depth }) => Number(depth) >= 6))
}

async function use({ stage, alice, bob, relays }: Scene): Promise<void> {
  stage.title('And uses them')
  // Bob is told where her records are now.
  await befriend(stage, bob, alice)
  const [sent] = await stage.run(alice, 'send', 'Bob', '--text', 'I live on three relays now.')
  const heard = textsOf(await stage.run(bob, 'pull'))
  check(heard.includes('I live on three relays now.'), 'Bob to read it')
  stage.say(`Alice  $ relay send Bob --text …   → ${sent?.state}; Bob has pulled “${heard.join('”, “')}”`)
  const owed = await Promise.all(relays.slice(0, 4).map((relay) => contractsAt(stage, relay)))
  check(owed.flat().filter(({ owed: sum }) => Number(sum) >= 0).length === 3, 'three contracts to be used')
}

/** Somebody fills the cheapest; twenty minutes later its rule raises the price, and everybody can see why. */
async function busy(scene: Scene): Promise<void> {
  const { stage, devnet, alice, bob } = scene
  const [relay] = scene.relays
  stage.title('The cheapest one gets busy')
  const before = await whyAt(scene, relay!)
  const carol = await settle(stage, 'Carol', relay!)
  await befriend(stage, carol, bob)
  const [{ key } = {}] = await stage.run(carol, 'id', '--out', join(stage.folder, 'Carol.relayid'))
  await stage.operate(relay!.name, 'grant', String(key), String(fillCredit))
  const file = join(stage.folder, 'film.bin')
  await writeFile(file, randomBytes(fillBytes))
  const [film] = await stage.run(carol, 'send', 'Bob', '--file', file)
  check(film?.state === 'delivered', 'the film to have its place')
  stage.say(
    `Carol stores ${fillBytes / 1e6} MB there, a third more as records, of ${capacity} that it has to sell. Twenty minutes pass.`,
  )
  await Promise.all(scene.relays.map((one) => stage.stopRelay(one)))
  stage.passTime(later)
  await devnet.passTime(stage.now)
  const channels = ['board:self', `board:${relay!.url}`]
  const again = channels.map((channel, index) =>
    stage.startRelay(nameOf(index), {
      port: Number(new URL(scene.relays[index]!.url).port),
      options: optionsOf(devnet, { index, channel }),
      isWatchful: true,
      isQuiet: true,
    }),
  )
  scene.relays = await Promise.all(again)
  const explained = await stage.operate(relay!.name, 'price', 'explain', '--human')
  stage.say('$ relayd price explain')
  for (const line of explained) stage.say(`       ${line}`)
  const after = await eventually(
    () => whyAt(scene, relay!, ['--channel', `board:${relay!.url}`]),
    ({ prices }) => Number((prices as Line).storageGBDay) > Number((before.prices as Line).storageGBDay),
  )
  const cost = ({ monthly: month }: Line) => (month as Line).satoshis
  stage.say(
    `Alice sees it too: ${cost(before)} satoshi a month before, ${cost(after)} now, for what she would write from now on;`,
  )
  stage.say('what her contract says holds for its term. $ relay market why …')
  await stage.show(alice, 'market', 'why', relay!.key, '--offline', '--bits', bits, ...usage)
}

async function whyAt({ stage, alice }: Scene, { key }: RelayServer, more: string[] = []): Promise<Line> {
  if (more.length > 0) await stage.run(alice, 'market', 'list', '--bits', bits, ...more, ...usage)
  const lines = await stage.run(alice, 'market', 'why', key, '--offline', '--bits', bits, ...usage)
  const found = lines.find(({ event }) => event === 'relay')
  check(found !== undefined, 'the relay to be known')
  return found ?? {}
}

async function eventually<T>(ask: () => Promise<T>, isSo: (answer: T) => boolean): Promise<T> {
  for (let left = 20; ; left--) {
    const answer = await ask()
    if (isSo(answer)) return answer
    check(left > 0, `it to become so: ${JSON.stringify(answer).slice(0, 2000)}`)
    await setTimeout(askedEveryMs)
  }
}
