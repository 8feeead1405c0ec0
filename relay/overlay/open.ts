/** The overlay of a running relay, how its own advert gets onto overlays, and what else it says of itself there. */
import type { Outlet } from '../../market/channels/channel.ts'
import type { Key } from '../../market/units.ts'
import type { Config } from '../config.ts'
import type { Core, Undo } from '../core.ts'
import { overlayDirectory } from '../data-directory.ts'
import { Authorizations } from '../phip/authorizations.ts'
import type { Authorizing } from '../phip/authorize.ts'
import type { Treasury } from '../treasury.ts'
import { Announcer } from './announcer.ts'
import { overlayOutlets, submitTo } from './outlets.ts'
import { Overlay } from './overlay.ts'

export interface OpenedOverlay {
  /** Absent with `--no-overlay`. */
  readonly host: Overlay | undefined
  /** Opens an outlet by what stands behind `overlay:`. @throws ERR_MALFORMED */
  readonly outlet: (target: string) => Outlet
  /** How people let this relay take messages for them; absent where nobody would be told. */
  readonly authorizing: Authorizing | undefined
  /** Whether somebody did. */
  readonly isRouted: (user: Key) => boolean
  /** To be called after the chain was heard. Never rejects. */
  follow(): Promise<void>
}

/** Where there are coins: what is on an overlay is on a chain. */
export async function openOverlay(
  config: Config,
  { treasury, store, signer: keys, now, log, means }: Core & { treasury: Treasury },
  undo: Undo,
): Promise<OpenedOverlay> {
  const wallet = () => treasury.desk.wallet
  const host = config.overlay
    ? new Overlay({
        ...{ directory: overlayDirectory(config.data), network: treasury.network, now, log },
        ...{ admit: means.admitWrite, bits: config.limits.advertBits },
        denied: new Set(config.phip.denied),
        chain: () => wallet().chain,
      })
    : undefined
  const { told } = config.federation
  const { publicUrl } = config
  const domain = told.length === 0 || publicUrl === undefined ? undefined : new URL(publicUrl).host
  const authorizations = await Authorizations.open(store, now)
  const announcer = new Announcer({
    ...{ wallet, now, log, uri: told.length === 0 ? undefined : publicUrl },
    // Who is told nothing any more is told of that.
    told: told.length === 0 && host !== undefined ? ['self'] : told,
    submit: (where, submission, signal) =>
      where === 'self' && host !== undefined
        ? host.submit(submission)
        : submitTo(config.phip.reach[new URL(where).host] ?? where, submission, signal),
    authorizations: () => authorizations.all(),
  })
  undo.push(async () => {
    await treasury.hangUp()
    await announcer.close()
    await host?.close()
  })
  return {
    host,
    outlet: overlayOutlets({ wallet, overlay: host }),
    authorizing:
      domain === undefined || host === undefined
        ? undefined
        : {
            ...{ own: keys.identity, domain },
            async keep(authorization) {
              if (await authorizations.keep(authorization)) announcer.touch()
            },
          },
    isRouted: (user) => domain !== undefined && authorizations.of(user)?.domain === domain,
    async follow() {
      await host?.follow()
      announcer.follow()
    },
  }
}
