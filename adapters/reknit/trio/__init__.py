"""The reference adapter: trio owns what begins and ends, one readiness loop the rest."""
