/** The story of the coins: a chain of its own, payments, blocks that are no more, a lost folder. Nothing in it is worth anything. */
import { copyFile, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { startDevnet } from '../../contracts/chain/devnet/local.ts'
import { type Rpc, rpcOf } from './coins.ts'
import { settle } from './friends.ts'
import { check, type Line, type Person, type Stage } from './stage.ts'

const given = 100_000
const paid = 25_000

interface Scene {
  readonly alice: Person
  readonly bob: Person
  readonly rpc: Rpc
  readonly chain: string
}

export async function chain(stage: Stage): Promise<void> {
  stage.title('A chain of our own')
  const devnet = await startDevnet({ host: '127.0.0.1', port: 0, now: Date.now })
  try {
    const rpc = rpcOf(devnet.url)
    stage.say(`A devnet listens at ${devnet.url}: the rules and the JSON-RPC of a node, coins worth nothing.`)
    const [one, two] = await Promise.all([stage.startRelay('relay-1'), stage.startRelay('relay-2')])
    const [alice, bob] = await Promise.all([settle(stage, 'Alice', one), settle(stage, 'Bob', two)])
    const scene = { alice, bob, rpc, chain: `devnet:${devnet.url}` }
    const fee = await pay(stage, scene)
    await reorganise(stage, scene, fee)
    await lose(stage, scene)
    stage.title(`Done in ${stage.seconds.toFixed(1)} s`)
  } finally {
    await devnet.close()
  }
}

async function pay(stage: Stage, { alice, bob, rpc, chain: named }: Scene): Promise<number> {
  stage.title('Alice pays Bob')
  await stage.run(alice, 'wallet', 'faucet', String(given), '--chain', named)
  await rpc('generate', 1)
  stage.say(`Alice  $ relay wallet faucet ${given} --chain devnet:…   (named once, then remembered)`)
  await show(stage, alice, { satoshis: given, confirmed: given })
  const [{ address } = {}] = await stage.run(bob, 'wallet', 'address', '--chain', named)
  stage.say(`Bob    $ relay wallet address                            → ${address}`)
  const [sent] = await stage.run(alice, 'wallet', 'send', String(address), String(paid), '--yes')
  const fee = Number(sent?.fee)
  check(fee > 0 && sent?.network === 'devnet', 'a payment with a fee, on the devnet')
  stage.say(
    `Alice  $ relay wallet send ${String(address).slice(0, 8)}… ${paid}            → fee ${fee} satoshi`,
  )
  await show(stage, bob, { satoshis: paid, unconfirmed: paid })
  const poor = await stage.tryRun(bob, 'wallet', 'send', String(address), '1000000')
  check(poor.code === 6, 'Bob not to pay what he does not have')
  stage.say(
    `Bob    $ relay wallet send … 1000000                     → exit code 6: ${sentence(poor.errors)}`,
  )
  return fee
}

async function reorganise(stage: Stage, { alice, bob, rpc }: Scene, fee: number): Promise<void> {
  stage.title('Three blocks that are no more')
  const rest = given - paid - fee
  await rpc('generate', 3)
  stage.say('Three blocks are mined; the first has the payment:')
  await showBoth(
    stage,
    [alice, { satoshis: rest, confirmed: rest }],
    [bob, { satoshis: paid, confirmed: paid }],
  )
  const before = await rpc('getbestblockhash')
  await rpc('devnet.reorganize', 3)
  check((await rpc('getbestblockhash')) !== before, 'another chain')
  stage.say('The network changes its mind: four other blocks, and the payment is in none of them.')
  await showBoth(
    stage,
    [alice, { satoshis: rest, confirmed: 0 }],
    [bob, { satoshis: paid, unconfirmed: paid }],
  )
  await rpc('generate', 1)
  stage.say('It is mined again:')
  await showBoth(
    stage,
    [alice, { satoshis: rest, confirmed: rest }],
    [bob, { satoshis: paid, confirmed: paid }],
  )
}

/** His key and his identity file are all that Bob has elsewhere. */
const kept = ['key.json', 'me.relayid']

async function lose(stage: Stage, { bob, chain: named }: Scene): Promise<void> {
  stage.title('Bob loses his folder')
  const safe = join(stage.folder, 'safe')
  await mkdir(safe)
  for (const name of kept) await copyFile(join(bob.home, name), join(safe, name))
  const begin = async () => {
    await rm(bob.home, { recursive: true })
    await mkdir(bob.home)
    for (const name of kept) await copyFile(join(safe, name), join(bob.home, name))
  }
  await begin()
  stage.say(`All of it is gone but what he kept elsewhere: ${kept.join(' and ')}.`)
  const [report] = await stage.run(bob, 'wallet', 'recover', '--chain', named)
  check(report?.satoshis === paid && String(report.source).startsWith('http'), 'his relay to have the backup')
  stage.say(
    `Bob    $ relay wallet recover                            → ${report?.satoshis} satoshi, from the`,
  )
  stage.say('       encrypted backup that his client had put on his relay as a record to himself')
  await show(stage, bob, { satoshis: paid, confirmed: paid })
  await begin()
  const options = ['--key-only', '--birthday', '0', '--chain', named]
  const [again] = await stage.run(bob, 'wallet', 'recover', ...options)
  check(
    again?.satoshis === paid && again.source === 'key',
    'the key alone to find what was paid to addresses',
  )
  stage.say(
    `Bob    $ relay wallet recover --key-only --birthday 0    → ${again?.satoshis} satoshi, with the key alone;`,
  )
  stage.say('       what else a backup would bring back:')
  for (const text of (again?.notFound ?? []) as string[]) stage.say(`         ${text}`)
}

async function showBoth(stage: Stage, ...both: [person: Person, wanted: Line][]): Promise<void> {
  const balances = await Promise.all(both.map(([person]) => stage.run(person, 'wallet', 'balance')))
  for (const [index, [person, wanted]] of both.entries())
    tell(stage, person, { wanted, balance: balances[index]![0]! })
}

async function show(stage: Stage, person: Person, wanted: Line): Promise<void> {
  const [balance = {}] = await stage.run(person, 'wallet', 'balance')
  tell(stage, person, { wanted, balance })
}

/** What a wallet says it has must be what the chain says. */
function tell(
  stage: Stage,
  person: Person,
  { wanted, balance }: { readonly wanted: Line; readonly balance: Line },
): void {
  for (const [name, value] of Object.entries(wanted))
    check(balance[name] === value, `${person.name} to have ${name} ${value}, not ${balance[name]}`)
  check(balance.isCurrent === true, `${person.name} to agree with the chain`)
  const { satoshis, confirmed, unconfirmed, height, network } = balance
  const parts = `${confirmed} confirmed, ${unconfirmed} not in a block yet`
  const start = `${person.name.padEnd(6)} $ relay wallet balance`
  stage.say(`${start.padEnd(56)} → ${satoshis} satoshi on ${network}: ${parts}, as of block ${height}`)
}

/** What a command said on stderr, less its form. */
function sentence(errors: string): string {
  const last = errors.trim().split('\n').at(-1) ?? ''
  return last.startsWith('{') ? String((JSON.parse(last) as { error: unknown }).error) : last
}
