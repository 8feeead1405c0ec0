/**
 * `make`, remembering its last used `capacity` results. What it throws is not remembered.
 * Results are shared between callers, who must not write to them.
 */
export function lru<V extends {}>(capacity: number, make: (key: string) => V): (key: string) => V {
  const entries = new Map<string, V>() // a Map iterates in the order of insertion: least recently used first
  return (key) => {
    const known = entries.get(key)
    const value = known ?? make(key)
    putBounded(entries, key, value, capacity)
    return value
  }
}

/** As the newest of at most `capacity` entries, for which the oldest goes. */
export function putBounded<K, V>(entries: Map<K, V>, key: K, value: V, capacity: number): void {
  entries.delete(key)
  entries.set(key, value)
  if (entries.size > capacity) entries.delete(entries.keys().next().value as K) // not empty: just set
}
