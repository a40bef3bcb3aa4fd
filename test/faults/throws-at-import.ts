/** A module that never gets as far as to be a plugin. */

throw new Error('boom at import');
