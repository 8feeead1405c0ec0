/** The options of `relayd start`, as its help lists them. */
import { marketOptions } from './market/price-options.ts'
import { overlayOptions } from './overlay/options.ts'
import { boxOptions } from './boxes/options.ts'
import { phipOptions } from './phip/options.ts'

/** The options that say where the coins are: of `start`, and of `wallet` when no relay runs. */
export const chainOptions = {
  chain: {
    type: 'string',
    value: 'CHAIN',
    help: 'have a wallet: devnet, devnet:URL, node:URL or arc:URL (remembered, as the next three)',
  },
  network: { type: 'string', value: 'NAME', help: 'main (default), test or regtest; devnet for devnets' },
  headers: { type: 'string', value: 'URL', help: 'for arc: a service that knows the headers' },
  backup: { type: 'string', value: 'FILE', help: 'keep an encrypted backup of the coins there' },
} as const satisfies Record<string, Option>

export interface Option {
  readonly type: 'string' | 'boolean'
  readonly multiple?: true
  readonly value?: string
  readonly help: string
}

/** The options of `start`; each is also an environment variable, `--min-free-disk` being RELAYD_MIN_FREE_DISK. */
export const startOptions = {
  data: { type: 'string', value: 'DIR', help: 'where the key and the store live (required)' },
  listen: {
    type: 'string',
    value: 'HOST:PORT',
    help: 'address to serve on (default 127.0.0.1:8420; port 0: any free one)',
  },
  open: { type: 'boolean', help: 'let everybody write, free of charge' },
  allow: {
    type: 'string',
    multiple: true,
    value: 'KEY',
    help: 'let this identity write, free of charge (repeatable)',
  },
  price: {
    type: 'string',
    multiple: true,
    value: 'NAME=SATOSHI',
    help: 'sell: storageGBDay, egressGB, ingressGB (repeatable); with the last two small writes are not free',
  },
  ...marketOptions,
  'grant-new': { type: 'string', value: 'SATOSHI', help: 'credit for a newcomer’s first write, for 30 days' },
  'public-url': { type: 'string', value: 'URL', help: 'how clients reach this relay, when not by --listen' },
  brc31: { type: 'boolean', help: 'let old clients of BRC-31 (Authrite) in, too; needs --public-url' },
  'trust-proxy': { type: 'boolean', help: 'take the caller’s address from the last X-Forwarded-For entry' },
  'tls-cert': { type: 'string', value: 'FILE', help: 'certificate chain (PEM); with --tls-key, serve https' },
  'tls-key': { type: 'string', value: 'FILE', help: 'private key of the certificate (PEM)' },
  'min-free-disk': { type: 'string', value: 'MIB', help: 'refuse writes when less is free (default 512)' },
  limit: {
    type: 'string',
    multiple: true,
    value: 'NAME=NUMBER',
    help: 'change a limit (repeatable; see docs)',
  },
  metrics: { type: 'string', value: 'HOST:PORT', help: 'serve Prometheus GET /metrics there (default: not)' },
  ...chainOptions,
  'zero-conf': {
    type: 'string',
    value: 'SATOSHI',
    help: 'credit for payments of one payer before they are in a block (default 10000)',
  },
  contract: {
    type: 'string',
    multiple: true,
    value: 'NAME=NUMBER',
    help: 'change what contracts are opened; poolSize=0: none (repeatable; see docs)',
  },
  ...boxOptions,
  'payment-log': {
    type: 'string',
    value: 'FILE',
    help: 'write what clients sign there too; best on another disk (default: in --data)',
  },
  advertise: {
    type: 'string',
    multiple: true,
    value: 'NAME',
    help: 'tell strangers of this relay: board:URL, irc://HOST/CHANNEL, overlay:self, overlay:URL, file:PATH (repeatable)',
  },
  'no-overlay': { type: 'boolean', help: 'with a chain, host no overlay of adverts' },
  ...overlayOptions,
  ...phipOptions,
  'no-board': { type: 'boolean', help: 'keep no adverts of other relays' },
  'log-level': {
    type: 'string',
    value: 'LEVEL',
    help: 'fatal, error, warn, info (default), debug or silent',
  },
} as const satisfies Record<string, Option>
