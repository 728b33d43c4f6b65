# SPDX-License-Identifier: Apache-2.0
"""The rig: what the behaviour and client tests stand on. Real programs are started here, and all are ended here."""
