/** What the chapter of boxes stands on: two hosts that know the way to each other, and people with a wallet and the client of today. */
import { Console } from 'node:console'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import type { MessageBoxClient, PeerPayClient, SendMessageResponse } from '@bsv/message-box-client'
import type { AuthFetch, WalletInterface } from '@bsv/sdk'
import { openChain } from '../../contracts/chain/open.ts'
import { loadSdk } from '../../contracts/transaction/sdk.ts'
import { Desk } from '../../contracts/wallet/desk.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { controlFile } from '../../relay/data-directory.ts'
import { control } from '../../relay/operator/control.ts'
import { freePort } from '../fixtures/ports.ts'
import type { Devnet } from './coins.ts'
import { check, type Line, type RelayServer, type Stage } from './stage.ts'

const given = { host: 100_000, person: 50_000 } as const
const [askedEveryMs, mostAsked] = [20, 1000]

/** A relay as others know it: by a name, which leads to this machine only by their operators' word. */
export interface Host extends RelayServer {
  readonly domain: string
  /** The same again, on its port. */
  restart(): Promise<Host>
}

/** Both run, and have coins: to say on the chain whom they take messages for costs some. */
export async function openHosts(
  stage: Stage,
  devnet: Devnet,
  sells: readonly [a: readonly string[], b: readonly string[]],
): Promise<[a: Host, b: Host]> {
  const ends = ['a', 'b'].map((name, at) => ({ name, domain: `${name}.example.org`, sells: sells[at]! }))
  const urls = [await freePort(), await freePort()].map((port) => `http://127.0.0.1:${port}`)
  const open = async (at: number): Promise<Host> => {
    const [{ name, domain, sells }, other] = [ends[at]!, 1 - at]
    const told = ['--public-url', `https://${domain}`, '--advertise-overlay', 'self']
    const beside = ['--advertise-overlay', urls[other]!]
    const way = ['--phip-reach', `${ends[other]!.domain}=${urls[other]}`]
    const options = ['--chain', devnet.named, '--no-board', ...told, ...beside, ...way, ...sells]
    const url = urls[at]!
    const port = Number(new URL(url).port)
    const relay = await stage.startRelay(name, { port, options, isWatchful: true, isQuiet: true })
    return { ...relay, url, domain, restart: () => open(at) }
  }
  const [a, b] = await Promise.all([open(0), open(1)])
  await Promise.all([a, b].map((host) => order(stage, host, 'wallet-faucet', { satoshis: given.host })))
  await devnet.mine(1)
  return [a, b]
}

/** What its operator can ask it, without a program for each question. */
export async function order(stage: Stage, { name }: RelayServer, what: string, args: object = {}) {
  return (await control(controlFile(join(stage.folder, name)), what, args)) as Line // a row, as it is printed
}

export interface BoxPerson {
  readonly name: string
  readonly key: string
  readonly keys: KeyWallet
  readonly wallet: WalletInterface
  readonly box: MessageBoxClient
  readonly pay: PeerPayClient
  /** Asks as this person. */
  readonly web: AuthFetch
  /** Satoshi, in blocks or not. */
  balance(): Promise<number>
  close(): Promise<void>
}

/** Somebody with a wallet of his own, whose client knows this host alone. */
export async function personAt(stage: Stage, devnet: Devnet, name: string, host: Host): Promise<BoxPerson> {
  const { MessageBoxClient, PeerPayClient } = await import('@bsv/message-box-client')
  const { AuthFetch, LookupResolver } = await loadSdk()
  const keys = KeyWallet.random()
  const chain = await openChain({ chain: devnet.named, network: 'devnet' })
  const desk = await Desk.open({ directory: join(stage.folder, name), keys, chain, now: Date.now })
  await desk.faucet(given.person)
  const wallet = desk.wallet as unknown as WalletInterface // it has what clients ask for
  const box = new MessageBoxClient({ host: host.url, walletClient: wallet, networkPreset: 'local' })
  const pay = new PeerPayClient({ messageBoxHost: host.url, walletClient: wallet })
  // They would ask the overlays of the world.
  const known = { networkPreset: 'local' as const, hostOverrides: { ls_messagebox: [host.url] } }
  for (const client of [box, pay]) Object.assign(client, { lookupResolver: new LookupResolver(known) })
  return {
    ...{ name, keys, key: keys.identity, wallet, box, pay, web: new AuthFetch(wallet) },
    async balance() {
      const { confirmed, unconfirmed, reserved } = await desk.balance()
      return confirmed + unconfirmed + reserved
    },
    async close() {
      await Promise.all([box.disconnectWebSocket(), pay.disconnectWebSocket()])
      await desk.close()
    },
  }
}

/** Clients write to the console for their developers: not while the play is on. */
export async function inSilence(work: () => Promise<void>): Promise<void> {
  const { console } = globalThis
  globalThis.console = new Console(new Writable({ write: (_text, _encoding, done) => done() }))
  try {
    await work()
  } finally {
    globalThis.console = console
  }
}

/** What became of a message to one person, as the host of its sender answers. */
export function fateOf(answer: SendMessageResponse): { delivery: string; hosts: Line[] } {
  const { results } = answer as unknown as { results: [{ delivery: string; hosts: Line[] }] }
  return results[0]
}

const headers = { 'content-type': 'application/json' }

export async function post({ web }: Pick<BoxPerson, 'web'>, url: string, body: unknown): Promise<Line> {
  const answer = await web.fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
  return (await answer.json()) as Line
}

/** Where a host knows that somebody lives, as it tells anybody. */
export async function tokensAt({ url }: Host, { key }: BoxPerson): Promise<{ beef: number[] }[]> {
  const body = JSON.stringify({ service: 'ls_phip', query: { user: key } })
  const answer = await fetch(`${url}/lookup`, { method: 'POST', headers, body })
  return ((await answer.json()) as { outputs: { beef: number[] }[] }).outputs
}

/** Of a host, in blocks or not. */
export async function coinsOf(stage: Stage, host: Host): Promise<number> {
  const { confirmed, unconfirmed } = await order(stage, host, 'wallet-balance')
  return Number(confirmed) + Number(unconfirmed)
}

/** What a host holds that somebody brought. */
export async function recordsAt(stage: Stage, host: Host, { key }: BoxPerson): Promise<number> {
  const { stored } = await order(stage, host, 'account', { key, limit: 0 })
  return Number((stored as Line).records)
}

/** All purses of somebody at a host. */
export async function purseAt(stage: Stage, host: Host, { key }: { key: string }) {
  const { purses } = await order(stage, host, 'account', { key, limit: 0 })
  const sum = (name: string) => (purses as Line[]).reduce((total, purse) => total + Number(purse[name]), 0)
  return { received: sum('received'), available: sum('available') }
}

/** Asks until it is so. */
export async function until<T>(
  what: string,
  ask: () => Promise<T>,
  isSo: (answer: T) => boolean,
): Promise<T> {
  for (let left = mostAsked; ; left--) {
    const answer = await ask()
    if (isSo(answer)) return answer
    check(left > 0, what)
    await setTimeout(askedEveryMs)
  }
}
