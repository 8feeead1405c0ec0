/** What the chapters with contracts have in common: a relay that opens some, a customer with coins, a contract that is deep. */
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { controlFile } from '../../relay/data-directory.ts'
import { control } from '../../relay/operator/control.ts'
import type { Devnet } from './coins.ts'
import { settle } from './friends.ts'
import { check, type Line, type Person, type RelayServer, type Stage } from './stage.ts'

/** Dear, so that a text costs whole satoshi and the figures can be followed. */
const prices = ['storageGBDay=2000000', 'egressGB=20000000', 'ingressGB=20000000']
const relayCoins = 100_000
const given = 300_000
export const budget = 50_000
/** How often a relay is asked before the play is stopped, which looks at the chain all the time. */
const [askedEveryMs, mostAsked] = [50, 400]

/** What it sells, and its one stake, lie ready. */
export async function sellContracts(stage: Stage, devnet: Devnet, name: string): Promise<RelayServer> {
  const sells = prices.flatMap((price) => ['--price', price])
  const options = ['--chain', devnet.named, ...sells, '--contract', 'poolSize=1']
  const relay = await stage.startRelay(name, { options, isWatchful: true })
  await fundStake(stage, devnet, relay, relayCoins)
  return relay
}

/** Gives it so many satoshi, its first; its one stake lies ready when this resolves. */
export async function fundStake(stage: Stage, devnet: Devnet, relay: RelayServer, coins: number) {
  await stage.operate(relay.name, 'wallet', 'faucet', String(coins))
  await devnet.mine(1)
  // Making the stake has its fee.
  for (let left = mostAsked; (await coinsAt(stage, relay)) === coins; left--) {
    check(left > 0, `${relay.name} to make its stake`)
    await setTimeout(askedEveryMs)
  }
  await devnet.mine(1)
}

async function coinsAt(stage: Stage, relay: RelayServer): Promise<number> {
  const balance = (await control(controlOf(stage, relay), 'wallet-balance')) as Line // a row, as it is printed
  return Number(balance.confirmed) + Number(balance.unconfirmed)
}

/** As `relayd` commands reach it; without starting one for each question. */
const controlOf = (stage: Stage, { name }: RelayServer): string => controlFile(join(stage.folder, name))

/** The same relay on the same port, by the clock of now. */
export async function resume(stage: Stage, devnet: Devnet, { name, url }: RelayServer): Promise<RelayServer> {
  const options = ['--chain', devnet.named, '--contract', 'poolSize=1']
  return stage.startRelay(name, { port: Number(new URL(url).port), options, isWatchful: true, isQuiet: true })
}

export async function customer(
  stage: Stage,
  devnet: Devnet,
  { name, relay }: { name: string; relay: RelayServer },
): Promise<Person> {
  const person = await settle(stage, name, relay)
  await stage.run(person, 'wallet', 'faucet', String(given), '--chain', devnet.named)
  await devnet.mine(1)
  return person
}

/** Opens a contract and waits until all of it may be used. @returns it as the relay has it */
export async function openDeep(
  stage: Stage,
  devnet: Devnet,
  { person, relay, term }: { person: Person; relay: RelayServer; term: string },
): Promise<Line> {
  const words = ['contract', 'open', relay.url, '--budget', String(budget), '--term', term]
  const [opened] = await stage.run(person, ...words, '--yes')
  check(opened?.state === 'active', 'the contract to be open')
  stage.say(`${person.name}  $ relay ${words.join(' ')}   → active`)
  await devnet.mine(6)
  const id = opened?.contract
  const found = await heardBy(stage, relay, (all) =>
    all.some(({ contract, depth }) => contract === id && Number(depth) >= 6),
  )
  return found.find(({ contract }) => contract === id) ?? {}
}

/** How the relay sees its contracts, the oldest first. */
export async function contractsAt(stage: Stage, relay: RelayServer): Promise<Line[]> {
  const found = (await control(controlOf(stage, relay), 'contracts', { isAll: true })) as Line[] // a list of rows
  return found.sort((a, b) => Number(a.expiry) - Number(b.expiry))
}

/** Asks until the relay has heard of the blocks that make it so; it looks all the time. */
export async function heardBy(
  stage: Stage,
  relay: RelayServer,
  isSo: (contracts: readonly Line[]) => boolean,
): Promise<Line[]> {
  for (let left = mostAsked; left > 0; left--) {
    const contracts = await contractsAt(stage, relay)
    if (isSo(contracts)) return contracts
    await setTimeout(askedEveryMs)
  }
  const contracts = JSON.stringify(await contractsAt(stage, relay))
  throw new Error(`${relay.name} does not hear of blocks: ${contracts}`)
}
