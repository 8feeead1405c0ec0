/** What several relays say of one feed, held side by side. */
import type { RelayAddress } from '../../market/address.ts'
import { parsePath, type RecordId } from '../../market/record.ts'
import type { FeedState, KeptPost } from '../home/feeds.ts'
import type { Wanted } from './fetch.ts'
import type { Listed, Post } from './list.ts'

/** A post that is new here: first the relays that list it, by turns, then the others, which may hide it. */
export type Found = Post & Wanted & { readonly listing: readonly RelayAddress[] }

export interface Merged {
  /** What was known, with who lists it now too. */
  readonly posts: readonly KeptPost[]
  readonly isChanged: boolean
  /** What is new, of each relay the newest that can be kept, the oldest first. */
  readonly found: readonly Found[]
}

/** `first`: a number by which readers spread over the relays, else the pulls of one are used up before another's are touched. */
export function merge(state: FeedState, lists: readonly Listed[], first: number): Merged {
  const known = new Map(state.posts.map((post) => [post.path, post]))
  const lost = new Set(state.gone.map(({ id }) => id))
  const found = new Map<string, Post & { readonly listing: readonly RelayAddress[] }>()
  let isChanged = false
  for (const { relay, entries } of lists) {
    for (const post of entries) {
      const { path } = post
      const held = known.get(path)
      if (held !== undefined && !held.listed.includes(relay.key)) {
        known.set(path, { ...held, listed: [...held.listed, relay.key] })
        isChanged = true
      }
      if (held !== undefined || lost.has(parsePath(path).recordId)) continue
      found.set(path, { ...post, listing: [...(found.get(path)?.listing ?? []), relay] })
    }
  }
  // All of it: `at` is a relay's word, and one that lists what is not there must not push out what others have.
  const oldestFirst = [...found.values()].sort((a, b) => a.at - b.at)
  const all = lists.map(({ relay }) => relay)
  return {
    posts: [...known.values()],
    isChanged,
    found: oldestFirst.map((post, index) => ({ ...post, relays: turned(post.listing, first + index, all) })),
  }
}

function turned(
  listing: readonly RelayAddress[],
  by: number,
  all: readonly RelayAddress[],
): readonly RelayAddress[] {
  const turn = by % listing.length
  const others = all.filter((relay) => !listing.includes(relay))
  return [...listing.slice(turn), ...listing.slice(0, turn), ...others]
}

/** A relay that does not list posts which name it and which others gave: hidden, used up, or never brought there. */
export interface Lacking {
  readonly relay: string
  readonly posts: readonly RecordId[]
}

export function lackingIn(state: FeedState, lists: readonly Listed[], now: number): Lacking[] {
  const lasting = state.posts.filter(({ expires }) => expires > now)
  return lists
    .filter(({ isWhole }) => isWhole)
    .map(({ relay: { key, url } }) => {
      const its = lasting.filter(({ named, listed }) => named.includes(key) && !listed.includes(key))
      return { relay: url, posts: its.map(({ path }) => parsePath(path).recordId) }
    })
    .filter(({ posts }) => posts.length > 0)
}
