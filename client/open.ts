/** From a directory and what opens it to the context everything works in. */
import type { WalletInterface } from '@bsv/sdk'
import { openKeyFile, openOrCreateKeyFile } from '../contracts/wallet/key-file.ts'
import { formatAddress } from '../market/address.ts'
import { MarketError } from '../market/errors.ts'
import { sealIdentity } from '../market/identity-file.ts'
import { type Context, createContext, type Notice } from './context.ts'
import { type Connected, Home } from './home/home.ts'
import { checkWalletUrl, httpWallet, identityAt, walletName } from './money/brc100.ts'
import { usualQuorum } from './people/choice.ts'
import { checkLabel } from './people/names.ts'
import { resolveAddress } from './people/relays.ts'
import { Dialer, type DialerOptions } from './wire/dialer.ts'
import { type Brc100, fromBrc100, fromKeyWallet, type Holder, type Wallet } from './wallet.ts'

export interface OpenOptions extends DialerOptions {
  /** Opens, or encrypts when it is made, the key file of the home. */
  readonly passphrase?: string | undefined
  /** Any BRC-100 wallet instead of the key file, or of the wallet that was connected. */
  readonly wallet?: WalletInterface | undefined
  /** How many relays must sign for a record before it counts as delivered; what the home's settings say unless said. */
  readonly quorum?: number | undefined
  /**
   * The most satoshi that is ever signed over in any contract, by whatever writes, settles or closes: all that was signed there
   * before counts. What each contract allows itself holds besides. Without: its budget.
   */
  readonly maxSpend?: number | undefined
  /** Hears what the user should know though nothing failed. */
  readonly onNotice?: ((notice: Notice) => void) | undefined
}

export interface InitOptions extends OpenOptions {
  readonly label: string
  /** Addresses of own relays, where records are put; without key the one found now is pinned. */
  readonly relays?: readonly string[]
}

export async function contextOf(home: Home, options: OpenOptions): Promise<Context> {
  return contextBy(new Dialer(options), home, options)
}

async function contextBy(dialer: Dialer, home: Home, options: OpenOptions): Promise<Context> {
  const { holder, wallet } = await holderOf(home, { ...options, dialer })
  const { maxSpend, onNotice = () => undefined } = options
  const quorum = options.quorum ?? (await usualQuorum(home))
  return createContext({ dialer, home, holder, wallet, quorum, now: Date.now, notify: onNotice, maxSpend })
}

/** A new identity in a home that has none, of the wallet that is given or connected, or of a new key. @throws ERR_CONFLICT when it has one */
export async function initHome(directory: string, options: InitOptions): Promise<Context> {
  if (await Home.at(directory).hasIdentity())
    throw new MarketError('ERR_CONFLICT', `there is an identity in ${directory} already`)
  checkLabel(options.label)
  const dialer = new Dialer(options)
  const relays = await Promise.all((options.relays ?? []).map((text) => resolveAddress(dialer, text)))
  const home = await Home.open(directory)
  if (options.wallet === undefined && (await home.connected()) === undefined) {
    // A key without identity file is what a crash right here leaves behind.
    await openOrCreateKeyFile(home.keyFile, { passphrase: options.passphrase })
  }
  const ctx = await contextBy(dialer, home, options)
  const fields = { label: options.label, relays: relays.map(formatAddress), now: ctx.now() }
  await home.saveMe(await sealIdentity(fields, ctx.wallet))
  return ctx
}

async function holderOf(
  home: Home,
  { wallet, passphrase, dialer }: OpenOptions & { readonly dialer: Dialer },
): Promise<{ holder: Holder; wallet: Wallet }> {
  if (wallet !== undefined) return brc100(wallet, 'the wallet')
  const connected = await home.connected()
  if (connected !== undefined)
    return brc100(await httpWallet(connected.url, dialer), walletName(connected.url))
  const keys = await openKeyFile(home.keyFile, { passphrase })
  return { holder: { kind: 'home', keys }, wallet: fromKeyWallet(keys) }
}

const brc100 = async (wallet: Brc100, name: string) => ({
  holder: { kind: 'brc100' as const, wallet, name },
  wallet: await fromBrc100(wallet),
})

/**
 * A BRC-100 wallet that listens at a URL signs, encrypts and pays for this home from now on; `Client.init` then takes its
 * identity.
 * @throws ERR_CONFLICT when the home has another identity, ERR_UNREACHABLE, ERR_UNTRUSTED
 */
export async function connectWallet(
  directory: string,
  text: string,
  options: DialerOptions = {},
): Promise<Connected> {
  const url = checkWalletUrl(text)
  const identity = await identityAt(await httpWallet(url, new Dialer(options)), url)
  const isOther = async () => (await Home.at(directory).me()).msg.from !== identity
  if ((await Home.at(directory).hasIdentity()) && (await isOther()))
    throw new MarketError(
      'ERR_CONFLICT',
      `the identity in ${directory} is not that of ${walletName(url)}: connect it to a new home, with --home DIR`,
    )
  const home = await Home.open(directory)
  await home.saveConnected({ url, identity })
  return { url, identity }
}

/** @throws ERR_NOT_FOUND without identity, ERR_FORBIDDEN for a wrong passphrase, ERR_CONFLICT for another wallet's home */
export async function openHome(directory: string, options: OpenOptions): Promise<Context> {
  const file = await Home.at(directory).me()
  const ctx = await contextOf(await Home.open(directory), options)
  if (file.msg.from !== ctx.wallet.identity)
    throw new MarketError('ERR_CONFLICT', `the identity in ${directory} is of another key than the wallet's`)
  return ctx
}
