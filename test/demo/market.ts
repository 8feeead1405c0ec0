/** The story itself: money that neither side can take alone, a message, and a relay that is paid what an audit proves. */
import { Account, type Devnet, withDevnet } from './coins.ts'
import { budget, customer, heardBy, sellContracts } from './contracting.ts'
import { befriend, settle, textsOf } from './friends.ts'
import { check, type Line, type Person, type RelayServer, type Stage } from './stage.ts'

const text = 'Hello Bob, this one is paid for.'

interface Scene {
  readonly devnet: Devnet
  readonly relay: RelayServer
  readonly alice: Person
  readonly bob: Person
}

export async function market(stage: Stage): Promise<void> {
  await withDevnet(async (devnet) => {
    stage.title('A chain, a relay that sells, two friends')
    stage.say(
      `A devnet listens at ${devnet.named.slice('devnet:'.length)}: the rules of a node, coins worth nothing.`,
    )
    const relay = await sellContracts(stage, devnet, 'relay-1')
    const free = await stage.startRelay('bobs-relay')
    const [alice, bob] = await Promise.all([
      customer(stage, devnet, { name: 'Alice', relay }),
      settle(stage, 'Bob', free),
    ])
    await befriend(stage, alice, bob)
    await befriend(stage, bob, alice)
    const scene = { devnet, relay, alice, bob }
    const account = await Account.open(stage, devnet, { person: alice, relay })
    await open(stage, scene)
    await talk(stage, scene)
    const settled = await close(stage, scene, await pay(stage, scene))
    stage.title('Every satoshi')
    const { fees, burned } = await account.tell()
    check(fees > 0 && burned === 0, 'fees, and nothing burned')
    stage.say(
      `The relay has the ${settled} satoshi that were audited, less its part of the fees; nobody had to be trusted.`,
    )
    stage.title(`Done in ${stage.seconds.toFixed(1)} s`)
  })
}

async function open(stage: Stage, { devnet, relay, alice }: Scene): Promise<void> {
  stage.title('Alice opens a contract')
  stage.say(`Alice  $ relay contract open ${relay.url} --budget ${budget}`)
  await stage.show(alice, 'contract', 'open', relay.url, '--budget', String(budget), '--yes')
  await devnet.mine(6)
  const [contract] = await heardBy(stage, relay, ([first]) => Number(first?.depth) >= 6)
  check(contract?.state === 'active', 'an open contract')
  stage.say(
    'Six blocks are mined. From now on neither can take the money alone, and nobody can keep it from both.',
  )
}

async function talk(stage: Stage, { alice, bob, relay }: Scene): Promise<void> {
  stage.title('Alice writes, Bob pulls and acknowledges')
  const [sent] = await stage.run(alice, 'send', 'Bob', '--text', text)
  check(sent?.state === 'delivered', 'the message to be on the relay')
  stage.say(`Alice  $ relay send Bob --text '${text}'   → ${String(sent?.state)}`)
  const heard = textsOf(await stage.run(bob, 'pull'))
  check(heard.includes(text), 'Bob to have the message')
  stage.say(`Bob    $ relay pull   → “${heard.join('”, “')}”`)
  stage.say('He signed what he read, and put a signed ack on his own relay.')
  const [contract] = await heardBy(stage, relay, ([first]) => Number(first?.owed) > 0)
  check(Number(contract?.settled) < Number(contract?.owed), 'something to be owed that is not settled yet')
  stage.say(`The relay is owed ${String(contract?.owed)} satoshi, for which nothing is settled yet.`)
}

async function pay(stage: Stage, { alice }: Scene): Promise<number> {
  stage.title('Alice audits, and pays by the audit')
  const purse = (await stage.run(alice, 'audit')).find(({ event }) => event === 'purse') as Line | undefined
  check(purse !== undefined && purse.claimed === purse.supported, 'the claim to be what the proofs support')
  stage.say(
    `Alice  $ relay audit          → exit code 0: ${String(purse?.claimed)} satoshi claimed, ${String(purse?.supported)} proven`,
  )
  const [pass] = await stage.run(alice, 'agent', '--once')
  check(
    pass?.verdict === 'explained' && pass.settled === pass.audited,
    'what is settled to be what was audited',
  )
  stage.say(
    `Alice  $ relay agent --once   → settled ${String(pass?.settled)} satoshi by two signatures, without a transaction`,
  )
  return Number(pass?.settled)
}

async function close(stage: Stage, { alice, devnet, relay }: Scene, settled: number): Promise<number> {
  stage.title('Alice closes the contract')
  const [closed] = await stage.run(alice, 'contract', 'close', relay.url, '--yes')
  const end = Number(closed?.settled)
  check(
    closed?.state === 'closed' && end === closed.audited && end >= settled,
    'the contract to end as audited',
  )
  await devnet.mine(6)
  await stage.run(alice, 'agent', '--once')
  const [contract] = await heardBy(stage, relay, ([first]) => first?.isBooked === true)
  check(contract?.earned === end, 'the relay to have earned what was settled')
  if (end > settled)
    stage.say(`The backup of her coins, written since, came to ${end - settled} satoshi more.`)
  stage.say(
    `Alice  $ relay contract close ${relay.url}   → closed; the relay has earned ${String(contract?.earned)} satoshi`,
  )
  return end
}
