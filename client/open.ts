/** From a directory and what opens it to the context everything works in. */
import type { WalletInterface } from '@bsv/sdk'
import { openKeyFile } from '../contracts/wallet/key-file.ts'
import { type Context, createContext, type Notice } from './context.ts'
import type { Home } from './home/home.ts'
import { fromBrc100, fromKeyWallet, type Wallet } from './wallet.ts'

export interface OpenOptions {
  /** Opens, or encrypts when it is made, the key file of the home. */
  readonly passphrase?: string | undefined
  /** Any BRC-100 wallet instead of the key file. */
  readonly wallet?: WalletInterface | undefined
  /** How many relays must sign for a record before it counts as delivered; 1 unless said. */
  readonly quorum?: number | undefined
  /** Hears what the user should know though nothing failed. */
  readonly onNotice?: ((notice: Notice) => void) | undefined
}

export interface InitOptions extends OpenOptions {
  readonly label: string
  /** Addresses of own relays, where records are put; without key the one found now is pinned. */
  readonly relays?: readonly string[]
}

export async function contextOf(home: Home, options: OpenOptions): Promise<Context> {
  const wallet = await walletOf(home, options)
  const { quorum = 1, onNotice = () => undefined } = options
  return createContext({ home, wallet, quorum, now: Date.now, notify: onNotice })
}

async function walletOf(home: Home, { wallet, passphrase }: OpenOptions): Promise<Wallet> {
  if (wallet !== undefined) return fromBrc100(wallet)
  return fromKeyWallet(await openKeyFile(home.keyFile, { passphrase }))
}
