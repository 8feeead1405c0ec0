/** The story of contracts: one that is used, paid, renewed and closed; a relay that vanishes; a relay that asks for too much. */
import { Account, type Devnet, withDevnet } from './coins.ts'
import { contractsAt, customer, heardBy, openDeep, resume, sellContracts } from './contracting.ts'
import { giveIn, overclaim } from './cooked-books.ts'
import { befriend, settle, textsOf } from './friends.ts'
import { check, type Line, type Person, type RelayServer, type Stage } from './stage.ts'

const day = 86_400
const texts = ['I am off to the mountains.', 'No signal up there.', 'Read this when you like.']
/** The renewal comes with less than two days to go: eight margins of six hours. */
const [away, untilRenewal] = [3 * day, 25.5 * day]
const extra = 5000
const relayDeposit = 5000

interface Scene {
  readonly stage: Stage
  readonly devnet: Devnet
  readonly alice: Person
  readonly bob: Person
  /** Of Bob: free, and his friends' acks go there. */
  free: RelayServer
}

export async function contract(stage: Stage): Promise<void> {
  await withDevnet(async (devnet) => {
    stage.title('Relays that open contracts')
    const one = await sellContracts(stage, devnet, 'relay-1')
    const free = await stage.startRelay('bobs-relay')
    const [alice, bob] = await Promise.all([
      customer(stage, devnet, { name: 'Alice', relay: one }),
      settle(stage, 'Bob', free),
    ])
    await befriend(stage, alice, bob)
    await befriend(stage, bob, alice)
    const scene: Scene = { stage, devnet, alice, bob, free }
    await aLife(scene, one)
    const two = await aVanishing(scene, one)
    await anOverclaim(scene, two)
    stage.title(`Done in ${stage.seconds.toFixed(1)} s`)
  })
}

/** Opened, used while its owner is away, paid by audit, renewed, closed. */
async function aLife(scene: Scene, first: RelayServer): Promise<void> {
  const { stage, devnet, alice, bob } = scene
  stage.title('Relay 1: a month')
  const account = await Account.open(stage, devnet, { person: alice, relay: first })
  const { contract: id } = await openDeep(stage, devnet, { person: alice, relay: first, term: '30d' })
  for (const text of texts) await stage.run(alice, 'send', 'Bob', '--text', text)
  stage.say(`Alice  $ relay send Bob …   (${texts.length} times), and goes offline`)

  let relay = await daysPass(scene, away, first)
  const heard = textsOf(await stage.run(bob, 'pull'))
  check(
    texts.every((text) => heard.includes(text)),
    'Bob to read everything while she is away',
  )
  const [used] = await heardBy(stage, relay, ([one]) => Number(one?.owed) > 0)
  check(Number(used?.owed) > Number(used?.settled), 'something to be owed that is not settled')
  stage.say(
    `Bob    $ relay pull   → ${heard.length} texts. Served, though nobody signs for it: ${amounts(used)}`,
  )

  const [paid] = await stage.run(alice, 'agent', '--once')
  check(paid?.verdict === 'explained' && paid.settled === paid.audited, 'settled to be what was audited')
  check(Number(paid?.settled) >= Number(used?.owed), 'all that was owed to be settled')
  stage.say(`Alice  $ relay agent --once   → audited ${paid?.audited}, settled ${paid?.settled}`)

  relay = await daysPass(scene, untilRenewal, relay)
  const passes = await stage.run(alice, 'agent', '--once')
  check(
    passes.every(({ error }) => error === undefined),
    'the agent to renew it',
  )
  await devnet.mine(6)
  const next = await heardBy(
    stage,
    relay,
    ([old, new_]) => old?.isBooked === true && Number(new_?.depth) >= 6,
  )
  const [was, is] = next
  check(was?.state === 'closed' && is?.state === 'active', 'the next contract in place of the old one')
  stage.say(
    `Alice  $ relay agent --once   → renewed; the relay has had ${was?.earned} satoshi of the old one`,
  )
  await stage.run(alice, 'send', 'Bob', '--text', 'I am back.')
  check(textsOf(await stage.run(bob, 'pull')).includes('I am back.'), 'Bob to be written to under the next')
  await stage.run(alice, 'agent', '--once')
  const [closed] = await stage.run(alice, 'contract', 'close', relay.url, '--yes')
  check(closed?.state === 'closed' && closed.contract === is?.contract, 'the next one to be closed')
  await devnet.mine(6)
  await stage.run(alice, 'agent', '--once')
  const ended = await heardBy(stage, relay, (all) => all.every(({ isBooked }) => isBooked === true))
  const earned = ended.reduce((sum, { earned: one }) => sum + Number(one), 0)
  check(
    id === ended[0]?.contract && earned === Number(was?.earned) + Number(closed?.settled),
    'what was settled',
  )
  stage.say(`Alice  $ relay contract close …   → closed; the relay has earned ${earned} satoshi in all:`)
  const { burned } = await account.tell()
  check(burned === 0, 'nothing to be burned')
  await stage.stopRelay(relay)
}

/** The relay is gone for ever; money comes back by time. */
async function aVanishing(scene: Scene, last: RelayServer): Promise<RelayServer> {
  const { stage, devnet, alice } = scene
  stage.title('Relay 2 vanishes')
  const relay = await sellContracts(stage, devnet, 'relay-2')
  await moveTo(scene, relay, last)
  const account = await Account.open(stage, devnet, { person: alice, relay })
  await openDeep(stage, devnet, { person: alice, relay, term: '2d' })
  await stage.run(alice, 'send', 'Bob', '--text', 'Is anybody there?')
  const before = (await contractsAt(stage, relay))[0]
  await stage.killRelay(relay)
  stage.say(
    `kill -9 relay-2, which never comes back. There is ${before?.budget} of hers and its own deposit in it: ${amounts(before)}`,
  )
  const early = await stage.tryRun(alice, 'contract', 'refund', relay.url)
  check(early.code === 1, 'nothing to come back before the time')
  stage.say(`Alice  $ relay contract refund …   → exit code 1: ${sentence(early.errors)}`)
  await daysPass(scene, 2 * day + 7200)
  const [back] = await stage.run(alice, 'contract', 'refund', relay.url)
  check(back?.state === 'refunded', 'the money to come back by time')
  await devnet.mine(6)
  await stage.run(alice, 'agent', '--once')
  stage.say('Alice  $ relay contract refund …   → refunded, by the chain alone; nobody signed:')
  const { person, burned } = await account.tell(relayDeposit)
  check(person < 0 && person > -300 && burned === 0, 'fees to be all that she lost')
  return relay
}

/** It asks for more than was used; she refuses, and settles what was audited. */
async function anOverclaim(scene: Scene, last: RelayServer): Promise<void> {
  const { stage, devnet, alice } = scene
  stage.title('Relay 3 asks for too much')
  let relay = await sellContracts(stage, devnet, 'relay-3')
  await moveTo(scene, relay, last)
  const account = await Account.open(stage, devnet, { person: alice, relay })
  const { contract: id } = await openDeep(stage, devnet, { person: alice, relay, term: '30d' })
  await stage.run(alice, 'send', 'Bob', '--text', 'And you?')
  await stage.run(alice, 'agent', '--once')
  const [used] = await contractsAt(stage, relay)
  await stage.stopRelay(relay)
  await overclaim(stage, relay, { id: String(id), satoshi: Number(used?.owed) + extra })
  relay = await resume(stage, devnet, relay)
  stage.say(
    `Its operator has changed its books: it asks for the end, and for ${Number(used?.owed) + extra} satoshi. ${amounts(used)}`,
  )
  await heardBy(stage, relay, ([one]) => one?.state === 'closing')
  const [pass] = await stage.run(alice, 'agent', '--once')
  check(
    pass?.state === 'disputed' && pass.settled === pass.audited,
    'the claim to be refused, settled = audited',
  )
  check(Number(pass?.audited) < Number(used?.owed) + extra, 'less than was asked for')
  stage.say(`Alice  $ relay agent --once   → refused; audited ${pass?.audited}, and ${pass?.settled} settled`)
  await stage.stopRelay(relay)
  await giveIn(stage, relay, String(id))
  relay = await resume(stage, devnet, relay)
  stage.say('It can wait and get no more, or burn both deposits and get less. It publishes what she settled:')
  await heardBy(stage, relay, ([one]) => one?.spend !== null)
  await devnet.mine(6)
  const [over] = await heardBy(stage, relay, ([one]) => one?.isBooked === true)
  await stage.run(alice, 'agent', '--once')
  check(over?.earned === pass?.settled, 'the relay to have what was audited')
  const { burned } = await account.tell()
  check(burned === 0, 'nothing to be burned')
}

/** Alice’s records go there from now on. */
async function moveTo({ stage, alice }: Scene, to: RelayServer, from: RelayServer): Promise<void> {
  await stage.run(alice, 'relays', 'add', `${to.url}#${to.key}`)
  await stage.run(alice, 'relays', 'remove', `${from.url}#${from.key}`)
  stage.say(`Alice  $ relay relays add ${to.url}; relays remove ${from.url}`)
}

/** The clocks of everybody and of the chain. @returns the relay, started again */
async function daysPass(scene: Scene, seconds: number): Promise<undefined>
async function daysPass(scene: Scene, seconds: number, relay: RelayServer): Promise<RelayServer>
async function daysPass(
  scene: Scene,
  seconds: number,
  relay?: RelayServer,
): Promise<RelayServer | undefined> {
  const { stage, devnet, free } = scene
  await Promise.all([free, relay].map((one) => one && stage.stopRelay(one)))
  stage.passTime(seconds)
  await devnet.passTime(stage.now)
  stage.say(`${(seconds / day).toFixed(1)} days pass, by the clocks of everybody and of the chain.`)
  scene.free = await stage.startRelay(free.name, { port: Number(new URL(free.url).port), isQuiet: true })
  return relay && resume(stage, devnet, relay)
}

const amounts = (line: Line | undefined): string =>
  `${line?.owed} owed, ${line?.paid} signed, ${line?.settled} settled`

/** What a command said on stderr, less its form. */
function sentence(errors: string): string {
  const last = errors.trim().split('\n').at(-1) ?? ''
  return last.startsWith('{') ? String((JSON.parse(last) as { error: unknown }).error) : last
}
